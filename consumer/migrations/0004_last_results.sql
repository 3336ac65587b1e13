-- The newest results, with the columns of check_results. In its index a result stands by target, location and slot: what asks for
-- one target and one location at a time reads the newest days' tables alone, however many there are, and no more than it shows.

-- The last results of one target since a time, at most so many as seen from each location. Without settings of its own, so that it
-- becomes a part of the query that calls it.
CREATE FUNCTION newest_results(wanted integer, since timestamptz, most bigint)
RETURNS SETOF check_results
LANGUAGE sql STABLE
AS $$
    SELECT
        r.host,
        c.dns_start,
        c.dns_elapsed,
        c.ip,
        c.http_start,
        c.http_elapsed,
        r.schema      AS http_schema,
        r.url_root    AS http_url_root,
        r.path        AS http_path,
        r.url         AS http_url,
        r.regex       AS http_regex,
        c.status_code AS http_status_code,
        c.reason      AS http_status_code_reason,
        c.regex_found AS http_regex_found,
        t.name        AS target,
        l.name        AS location,
        c.scheduled_at,
        c.lateness,
        r.interval_ms,
        CASE c.state WHEN 1 THEN 'up' WHEN 2 THEN 'down' WHEN 3 THEN 'missed' WHEN 4 THEN 'unmeasured' END AS state,
        c.failure_class,
        c.failure_phase,
        c.failure_detail,
        c.dns_error,
        r.method      AS http_method,
        c.redirect_elapsed,
        c.connect_elapsed,
        c.tls_elapsed,
        c.first_byte_elapsed,
        c.transfer_elapsed,
        c.body_bytes,
        c.http_version,
        c.redirects,
        c.certificate_expires_at,
        c.id,
        c.stored_at
    FROM locations l
    CROSS JOIN LATERAL (
        SELECT *
        FROM checks newest
        WHERE newest.target_id = wanted AND newest.location_id = l.id AND newest.scheduled_at >= since
        ORDER BY newest.scheduled_at DESC
        LIMIT most
    ) c
    JOIN targets t ON t.id = c.target_id
    JOIN requests r ON r.id = c.request_id
$$;

-- Of each target, as seen from each location, the last result. Where all have one of the last day, no other day is opened.
CREATE FUNCTION latest_results()
RETURNS SETOF check_results
LANGUAGE plpgsql STABLE
-- Compiling the plan costs more than it saves: a second, for a thousand short looks into an index.
SET jit = off
-- A time that the planner knows leaves it few days' tables to open: with a year of them it would take longer than the answer.
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    since timestamptz := now() - interval '1 day';
    shown bigint;
BEGIN
    RETURN QUERY
        SELECT newest.*
        FROM targets t
        CROSS JOIN LATERAL newest_results(t.id, since, 1) newest;
    GET DIAGNOSTICS shown = ROW_COUNT;
    IF shown < (SELECT count(*) FROM targets) * (SELECT count(*) FROM locations) THEN
        RETURN QUERY
            SELECT newest.*
            FROM targets t
            CROSS JOIN LATERAL newest_results(t.id, '-infinity', 1) newest
            WHERE newest.scheduled_at < since;
    END IF;
END
$$;

-- The last results of one target, newest first. Those of the last day are enough for most; else all days are looked at.
CREATE FUNCTION last_results(wanted text, most bigint DEFAULT 100)
RETURNS SETOF check_results
LANGUAGE plpgsql STABLE
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    since  timestamptz := now() - interval '1 day';
    enough boolean;
BEGIN
    SELECT count(*) >= most INTO enough
    FROM (
        SELECT
        FROM targets t
        JOIN checks c ON c.target_id = t.id
        WHERE t.name = wanted AND c.scheduled_at >= since
        LIMIT most
    ) newest;
    IF NOT enough THEN
        since := '-infinity';
    END IF;
    RETURN QUERY
        SELECT newest.*
        FROM targets t
        CROSS JOIN LATERAL newest_results(t.id, since, most) newest
        WHERE t.name = wanted
        ORDER BY newest.scheduled_at DESC
        LIMIT most;
END
$$;

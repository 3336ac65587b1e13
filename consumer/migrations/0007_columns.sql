-- The view is the only list of a result's columns. What shows results selects `*` from it, so that a column that is appended to `checks` and
-- to the view is everywhere at once. A later migration repeats the view as it is here, and appends.

ALTER TABLE checks
    -- Addresses that were tried and did not connect: [{"ip": …, "detail": …}]; null where there was none.
    ADD COLUMN failed_addresses jsonb,
    -- Where redirects ended; null where none were followed.
    ADD COLUMN final_url text;

CREATE OR REPLACE VIEW check_results AS
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
    c.stored_at,
    c.failed_addresses,
    c.final_url   AS http_final_url,
    c.target_id,
    c.location_id
FROM checks c
JOIN targets t ON t.id = c.target_id
JOIN locations l ON l.id = c.location_id
JOIN requests r ON r.id = c.request_id;

-- The functions read the view itself: a query of another function's rows keeps the columns that these had when it was planned.

CREATE OR REPLACE FUNCTION latest_results()
RETURNS SETOF check_results
LANGUAGE plpgsql STABLE
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    since timestamptz := now() - interval '1 day';
    shown bigint;
BEGIN
    RETURN QUERY
        SELECT newest.*
        FROM targets t
        CROSS JOIN locations l
        CROSS JOIN LATERAL (
            SELECT r.*
            FROM check_results r
            WHERE r.target_id = t.id AND r.location_id = l.id AND r.scheduled_at >= since
            ORDER BY r.scheduled_at DESC
            LIMIT 1
        ) newest;
    GET DIAGNOSTICS shown = ROW_COUNT;
    IF shown < (SELECT count(*) FROM targets) * (SELECT count(*) FROM locations) THEN
        RETURN QUERY
            SELECT newest.*
            FROM targets t
            CROSS JOIN locations l
            CROSS JOIN LATERAL (
                SELECT r.*
                FROM check_results r
                WHERE r.target_id = t.id AND r.location_id = l.id
                ORDER BY r.scheduled_at DESC
                LIMIT 1
            ) newest
            WHERE newest.scheduled_at < since;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION last_results(wanted text, most bigint DEFAULT 100)
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
        CROSS JOIN locations l
        CROSS JOIN LATERAL (
            SELECT r.*
            FROM check_results r
            WHERE r.target_id = t.id AND r.location_id = l.id AND r.scheduled_at >= since
            ORDER BY r.scheduled_at DESC
            LIMIT most
        ) newest
        WHERE t.name = wanted
        ORDER BY newest.scheduled_at DESC
        LIMIT most;
END
$$;

DROP FUNCTION newest_results(integer, timestamptz, bigint);

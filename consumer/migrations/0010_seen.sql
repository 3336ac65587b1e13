-- Reports go by the pairs of target and location that have results, and not by all that could be: with a thousand targets of a hundred
-- places each of its own, that is a thousand and not a hundred thousand, each of which would be looked for in every day.

-- Which pairs have results in [since, until): from one to the next in the index, whatever is between.
CREATE FUNCTION seen_pairs(since timestamptz, until timestamptz)
RETURNS TABLE (target_id integer, location_id integer)
LANGUAGE plpgsql STABLE
SET jit = off
-- A time that the planner knows leaves it few days' tables to open.
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE pair AS (
            (
                SELECT c.target_id, c.location_id
                FROM checks c
                WHERE c.scheduled_at >= since AND c.scheduled_at < until
                ORDER BY c.target_id, c.location_id
                LIMIT 1
            )
            UNION ALL
            SELECT following.target_id, following.location_id
            FROM pair
            CROSS JOIN LATERAL (
                SELECT c.target_id, c.location_id
                FROM checks c
                WHERE (c.target_id, c.location_id) > (pair.target_id, pair.location_id)
                    AND c.scheduled_at >= since AND c.scheduled_at < until
                ORDER BY c.target_id, c.location_id
                LIMIT 1
            ) following
        )
        SELECT pair.target_id, pair.location_id FROM pair;
END
$$;

-- All pairs that have results: day by day from the newest one, until there can be no further pair.
CREATE FUNCTION all_pairs()
RETURNS TABLE (target_id integer, location_id integer)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    most  bigint := (SELECT count(*) FROM targets) * (SELECT count(*) FROM locations);
    pairs bigint[] := '{}';
    first timestamptz;
    ends  timestamptz := 'infinity';
BEGIN
    -- The last of these times has what lies before all days, in partitions of someone else's making.
    FOR first IN
        SELECT to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC'
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'checks'::regclass AND c.relname ~ '^checks_\d{8}$'
        UNION ALL
        SELECT '-infinity'
        ORDER BY 1 DESC
    LOOP
        EXIT WHEN cardinality(pairs) >= most;
        pairs := ARRAY(
            SELECT unnest(pairs)
            UNION
            SELECT s.target_id::bigint << 32 | s.location_id FROM seen_pairs(first, ends) s
        );
        ends := first;
    END LOOP;
    RETURN QUERY SELECT (p >> 32)::integer, (p & 4294967295)::integer FROM unnest(pairs) p;
END
$$;

-- As before, by pairs. Days before the last one are opened only where there may be a pair that is not in it.
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
        FROM seen_pairs(since, 'infinity') pair
        CROSS JOIN LATERAL (
            SELECT r.*
            FROM check_results r
            WHERE r.target_id = pair.target_id AND r.location_id = pair.location_id AND r.scheduled_at >= since
            ORDER BY r.scheduled_at DESC
            LIMIT 1
        ) newest;
    GET DIAGNOSTICS shown = ROW_COUNT;
    IF shown < (SELECT count(*) FROM targets) * (SELECT count(*) FROM locations) THEN
        RETURN QUERY
            SELECT newest.*
            FROM (
                SELECT * FROM all_pairs() EXCEPT SELECT * FROM seen_pairs(since, 'infinity')
            ) pair
            CROSS JOIN LATERAL (
                SELECT r.*
                FROM check_results r
                WHERE r.target_id = pair.target_id AND r.location_id = pair.location_id AND r.scheduled_at < since
                ORDER BY r.scheduled_at DESC
                LIMIT 1
            ) newest;
    END IF;
END
$$;

-- As before, by pairs.
CREATE OR REPLACE FUNCTION slot_gaps(since timestamptz, until timestamptz)
RETURNS TABLE (target text, location text, first_slot timestamptz, last_slot timestamptz, slots bigint)
LANGUAGE sql STABLE
-- Compiling the plan costs more than it saves: seconds where rows are few.
SET jit = off
AS $$
    WITH marks AS (
        SELECT c.target_id, c.location_id, c.request_id, c.scheduled_at
        FROM checks c
        WHERE c.scheduled_at >= since AND c.scheduled_at < until
        UNION ALL
        -- The row before and the row after: what was in force when the window began, and what came into force after it ended.
        SELECT pair.target_id, pair.location_id, edge.request_id, edge.scheduled_at
        FROM all_pairs() pair
        CROSS JOIN LATERAL (
            (SELECT c.request_id, c.scheduled_at
             FROM checks c
             WHERE c.target_id = pair.target_id AND c.location_id = pair.location_id AND c.scheduled_at < since
             ORDER BY c.scheduled_at DESC LIMIT 1)
            UNION ALL
            (SELECT c.request_id, c.scheduled_at
             FROM checks c
             WHERE c.target_id = pair.target_id AND c.location_id = pair.location_id AND c.scheduled_at >= until
             ORDER BY c.scheduled_at LIMIT 1)
        ) edge
    ),
    steps AS (
        SELECT
            m.target_id,
            m.location_id,
            m.scheduled_at                                      AS slot,
            r.interval_ms * interval '1 millisecond'            AS step,
            lead(m.scheduled_at) OVER following                 AS next_slot,
            lead(r.interval_ms) OVER following                  AS next_ms,
            r.interval_ms
        FROM marks m
        JOIN requests r ON r.id = m.request_id
        WINDOW following AS (PARTITION BY m.target_id, m.location_id ORDER BY m.scheduled_at)
    ),
    gaps AS (
        SELECT s.*, least(until, now(), s.next_slot, changed.at) AS ends
        FROM steps s
        -- Where the next row has another interval, the producer that wrote it may have started long before its slot: then there
        -- is a row of its latest slot at that time, which it checked at once, or which was there already from the rhythm before.
        -- What was due between the change and the next row are not the slots of the former rhythm.
        LEFT JOIN LATERAL (
            SELECT c.scheduled_at + c.lateness * interval '1 microsecond' AS at
            FROM checks c
            WHERE s.next_ms <> s.interval_ms
                AND c.target_id = s.target_id
                AND c.location_id = s.location_id
                AND c.scheduled_at = s.next_slot - s.next_ms * interval '1 millisecond'
        ) changed ON true
        WHERE s.slot < until AND s.slot + s.step < least(until, now(), s.next_slot)
    ),
    runs AS (
        SELECT
            g.target_id,
            g.location_id,
            g.interval_ms,
            -- The first of its slots that is neither the row's own nor before the window, and the last one before the end.
            date_bin(g.step, greatest(since, g.slot + g.step) - interval '1 microsecond', g.slot) + g.step AS first_slot,
            date_bin(g.step, g.ends - interval '1 microsecond', g.slot)                                    AS last_slot
        FROM gaps g
    )
    SELECT
        t.name,
        l.name,
        r.first_slot,
        r.last_slot,
        (extract(epoch FROM r.last_slot - r.first_slot) * 1000)::bigint / r.interval_ms + 1
    FROM runs r
    JOIN targets t ON t.id = r.target_id
    JOIN locations l ON l.id = r.location_id
    WHERE r.first_slot <= r.last_slot
$$;

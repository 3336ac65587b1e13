-- What a time says of a target, for each location: its slots by what became of them; of those that were checked, how many percent were
-- up (null where none was); and the quantiles of http_elapsed, in microseconds.
CREATE FUNCTION uptime(wanted text, since timestamptz DEFAULT now() - interval '24 hours', until timestamptz DEFAULT now())
RETURNS TABLE (
    location   text,
    up         bigint,
    down       bigint,
    missed     bigint,
    unmeasured bigint,
    uptime     double precision,
    p50        double precision,
    p95        double precision,
    p99        double precision
)
LANGUAGE plpgsql STABLE
SET jit = off
-- Times that the planner knows leave it few days' tables to open, see latest_results.
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    RETURN QUERY
        SELECT
            l.name,
            seen.up,
            seen.down,
            seen.missed,
            seen.unmeasured,
            100.0::double precision * seen.up / nullif(seen.up + seen.down, 0),
            seen.quantiles[1],
            seen.quantiles[2],
            seen.quantiles[3]
        FROM locations l
        CROSS JOIN LATERAL (
            SELECT
                count(*) FILTER (WHERE c.state = 1) AS up,
                count(*) FILTER (WHERE c.state = 2) AS down,
                count(*) FILTER (WHERE c.state = 3) AS missed,
                count(*) FILTER (WHERE c.state = 4) AS unmeasured,
                percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY c.http_elapsed) AS quantiles
            FROM targets t
            JOIN checks c ON c.target_id = t.id
            WHERE t.name = wanted AND c.location_id = l.id AND c.scheduled_at >= since AND c.scheduled_at < until
            HAVING count(*) > 0
        ) seen
        ORDER BY l.name;
END
$$;

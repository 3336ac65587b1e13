-- What was due and is not there. A row says in which interval its target was scheduled, so the slots after it are known:
-- scheduled_at + interval, + 2 * interval, and so on, until the next row.
--
-- Runs of slots in [since, until) without a row, one line a run. Slots to come are not due. A target has no slots before its
-- first row, and none of which no row says the interval, such as those of the original system's messages.
CREATE FUNCTION slot_gaps(since timestamptz, until timestamptz)
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
        SELECT t.id, l.id, edge.request_id, edge.scheduled_at
        FROM targets t
        CROSS JOIN locations l
        CROSS JOIN LATERAL (
            (SELECT c.request_id, c.scheduled_at
             FROM checks c
             WHERE c.target_id = t.id AND c.location_id = l.id AND c.scheduled_at < since
             ORDER BY c.scheduled_at DESC LIMIT 1)
            UNION ALL
            (SELECT c.request_id, c.scheduled_at
             FROM checks c
             WHERE c.target_id = t.id AND c.location_id = l.id AND c.scheduled_at >= until
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

-- What became of the slots in [since, until) of each target: due = stored + absent, stored = up + down + missed + unmeasured.
-- Without any row that says the interval `absent` is null, for nobody knows, and `due` counts what is stored.
CREATE FUNCTION slot_account(since timestamptz, until timestamptz)
RETURNS TABLE (
    target     text,
    location   text,
    due        bigint,
    stored     bigint,
    up         bigint,
    down       bigint,
    missed     bigint,
    unmeasured bigint,
    absent     bigint
)
LANGUAGE sql STABLE
SET jit = off
AS $$
    -- Grouped before anything is joined: there may be millions of rows.
    WITH counted AS (
        SELECT
            target_id,
            location_id,
            request_id,
            count(*)                          AS stored,
            count(*) FILTER (WHERE state = 1) AS up,
            count(*) FILTER (WHERE state = 2) AS down,
            count(*) FILTER (WHERE state = 3) AS missed,
            count(*) FILTER (WHERE state = 4) AS unmeasured
        FROM checks
        WHERE scheduled_at >= since AND scheduled_at < until
        GROUP BY target_id, location_id, request_id
    ),
    present AS (
        SELECT
            t.name                             AS target,
            l.name                             AS location,
            sum(c.stored)::bigint              AS stored,
            sum(c.up)::bigint                  AS up,
            sum(c.down)::bigint                AS down,
            sum(c.missed)::bigint              AS missed,
            sum(c.unmeasured)::bigint          AS unmeasured,
            bool_or(r.interval_ms IS NOT NULL) AS rhythmic
        FROM counted c
        JOIN targets t ON t.id = c.target_id
        JOIN locations l ON l.id = c.location_id
        JOIN requests r ON r.id = c.request_id
        GROUP BY t.id, l.id
    ),
    missing AS (
        SELECT g.target, g.location, sum(g.slots)::bigint AS slots
        FROM slot_gaps(since, until) g
        GROUP BY g.target, g.location
    )
    SELECT
        target,
        location,
        coalesce(p.stored, 0) + coalesce(m.slots, 0),
        coalesce(p.stored, 0),
        coalesce(p.up, 0),
        coalesce(p.down, 0),
        coalesce(p.missed, 0),
        coalesce(p.unmeasured, 0),
        CASE WHEN p.rhythmic THEN coalesce(m.slots, 0) ELSE m.slots END
    FROM present p
    FULL JOIN missing m USING (target, location)
    ORDER BY target, location
$$;

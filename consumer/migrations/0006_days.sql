-- The tables of days are made and dropped with the rights of whoever owns `checks`, so that a consumer needs none to create or drop.

-- Makes the table of a UTC day, unless there is one, or one of that name that was detached on purpose. It is created apart and then
-- attached, which takes a lock that lets other consumers go on writing.
CREATE FUNCTION make_day(day date)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    name text := 'checks_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    -- One at a time; any number that no other program on the same database is likely to choose.
    PERFORM pg_advisory_xact_lock(x'51073a7c0002'::bigint);
    EXECUTE format('CREATE TABLE %I (LIKE checks INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format(
        'ALTER TABLE checks ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, day || ' 00:00:00+00', day + 1 || ' 00:00:00+00'
    );
EXCEPTION
    -- Another consumer made it while we waited, or a partition of someone else's making covers the day.
    WHEN duplicate_table OR invalid_object_definition THEN
        NULL;
END
$$;

-- Drops the oldest day's table of all that lie before a UTC day, and returns its name; null where there is none. One at a time, since
-- readers and writers wait meanwhile; where it would have to wait for one of them for long, it gives up.
CREATE FUNCTION drop_oldest_day(before date)
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET lock_timeout = '1s'
AS $$
DECLARE
    oldest text;
BEGIN
    SELECT c.relname INTO oldest
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'checks'::regclass
        -- Partitions of someone else's making are theirs to drop.
        AND c.relname ~ '^checks_\d{8}$'
        AND c.relname < 'checks_' || to_char(before, 'YYYYMMDD')
    ORDER BY c.relname
    LIMIT 1;
    IF oldest IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', oldest);
    END IF;
    RETURN oldest;
END
$$;

REVOKE EXECUTE ON FUNCTION make_day(date), drop_oldest_day(date) FROM PUBLIC;

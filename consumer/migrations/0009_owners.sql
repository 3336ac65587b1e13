-- One database has the offsets of one consumer group: two would move them to and fro.
ALTER TABLE consumer_offsets ADD COLUMN consumer_group text;

-- As before, but however late the day that it is given: what is younger than yesterday is not old for anybody.
CREATE OR REPLACE FUNCTION drop_oldest_day(before date)
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET lock_timeout = '1s'
AS $$
DECLARE
    yesterday date := (now() AT TIME ZONE 'UTC')::date - 1;
    keep      integer := (SELECT days FROM kept_days);
    oldest    text;
BEGIN
    SELECT c.relname INTO oldest
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'checks'::regclass
        -- Partitions of someone else's making are theirs to drop.
        AND c.relname ~ '^checks_\d{8}$'
        AND c.relname < 'checks_' || to_char(least(before, yesterday, yesterday + 1 - keep), 'YYYYMMDD')
    ORDER BY c.relname
    LIMIT 1;
    IF oldest IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', oldest);
    END IF;
    RETURN oldest;
END
$$;

-- How many days before today are not to be dropped by whoever may call drop_oldest_day; no row where the owner leaves that to him.
CREATE TABLE kept_days (
    days integer NOT NULL CHECK (days BETWEEN 1 AND 65535)
);
CREATE UNIQUE INDEX kept_days_one ON kept_days ((true));

-- What has its owner's rights finds its tables in their schema, and nobody else's in a temporary one before them.
DO $$
DECLARE
    place text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'checks'::regclass);
BEGIN
    EXECUTE format('ALTER FUNCTION make_day(date) SET search_path = %s, pg_temp', place);
    EXECUTE format('ALTER FUNCTION drop_oldest_day(date) SET search_path = %s, pg_temp', place);
END
$$;

-- Nobody who waits for a lock there is behind a setting of a session.
ALTER FUNCTION make_day(date) SET lock_timeout = '5s';

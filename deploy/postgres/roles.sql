-- Three roles, each with no more than it needs. Run it as a superuser, or as one who may create roles and owns the database, connected
-- to that database. Then give each user of yours one of them:
--
--     CREATE ROLE migrating LOGIN PASSWORD '…' IN ROLE slotwatch_owner;
--     ALTER ROLE migrating SET role = 'slotwatch_owner';
--     CREATE ROLE monitoring LOGIN PASSWORD '…' IN ROLE slotwatch_writer;
--
-- Who migrates acts as his role, so that what he makes belongs to it. Who stores must not: Postgres would hide from him when his own
-- sessions began, by which consumers know who owns a partition, and can end the session of one that is frozen. It also hides those of
-- other users, so all consumers, and `consumer status`, come as the same one.
--
-- slotwatch_owner     owns the tables; runs `consumer migrate`.
-- slotwatch_writer    stores results: the consumer, with postgres.migrate = false or tables that are up to date.
-- slotwatch_reader    reads them: dashboards, people.
--
-- Run it before the first `consumer migrate`, and once more after each that has made something new.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['slotwatch_owner', 'slotwatch_writer', 'slotwatch_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
END
$$;

GRANT USAGE, CREATE ON SCHEMA public TO slotwatch_owner;
GRANT USAGE ON SCHEMA public TO slotwatch_writer, slotwatch_reader;

DO $$
BEGIN
    IF to_regclass('schema_migrations') IS NULL THEN
        RAISE NOTICE 'there are no tables yet: run this again after consumer migrate';
        RETURN;
    END IF;
    GRANT SELECT ON schema_migrations TO slotwatch_writer;
    GRANT SELECT, INSERT ON checks, targets, locations, requests TO slotwatch_writer;
    GRANT SELECT, INSERT, UPDATE ON consumer_offsets TO slotwatch_writer;
    -- Days' tables belong to the owner, and are made and dropped in its name.
    GRANT EXECUTE ON FUNCTION make_day(date), drop_oldest_day(date) TO slotwatch_writer;
    GRANT SELECT ON checks, targets, locations, requests, check_results TO slotwatch_reader;
END
$$;

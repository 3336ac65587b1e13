-- What was watched, from where, and what was asked. Their ids are cached by the consumer, which alone writes them.

CREATE TABLE targets (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE locations (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- The same for most results of a target; a changed URL, pattern or interval is a new row here.
CREATE TABLE requests (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- UUIDv5 of all that follows: URLs and patterns are too long for an index of their own.
    digest   uuid NOT NULL UNIQUE,
    method   text NOT NULL,
    url      text NOT NULL,
    -- The URL up to its path.
    url_root text NOT NULL,
    schema   text NOT NULL,
    host     text NOT NULL,
    path     text,
    regex    text,
    -- Milliseconds between two slots; null where the message did not say.
    interval_ms bigint
);

-- One row a slot. All durations are microseconds. Columns stand in the order of their alignment, so that rows have no padding.
-- No foreign keys: they would halve the speed of COPY, and only the consumer writes here.
CREATE TABLE checks (
    -- The slot: the instant that the check was scheduled for.
    scheduled_at           timestamptz NOT NULL,
    -- When the transaction began that stored this row.
    stored_at              timestamptz NOT NULL DEFAULT now(),
    dns_start              timestamptz,
    http_start             timestamptz,
    certificate_expires_at timestamptz,
    -- How long after its slot the check began.
    lateness               bigint NOT NULL,
    body_bytes             bigint,
    target_id              integer NOT NULL,
    location_id            integer NOT NULL,
    request_id             integer NOT NULL,
    dns_elapsed            integer,
    http_elapsed           integer,
    redirect_elapsed       integer,
    connect_elapsed        integer,
    tls_elapsed            integer,
    first_byte_elapsed     integer,
    transfer_elapsed       integer,
    -- 1 up, 2 down, 3 missed, 4 unmeasured.
    state                  smallint NOT NULL,
    status_code            smallint,
    redirects              smallint NOT NULL,
    regex_found            boolean,
    -- The id in the message, which follows from target, location and slot.
    id                     uuid NOT NULL,
    ip                     inet,
    reason                 text,
    http_version           text,
    -- These are null for a site that is up.
    failure_class          text,
    failure_phase          text,
    failure_detail         text,
    dns_error              text,
    PRIMARY KEY (target_id, location_id, scheduled_at)
) PARTITION BY RANGE (scheduled_at);

-- How far each partition of a topic is stored; changed in the transaction that stores its rows.
CREATE TABLE consumer_offsets (
    -- The Kafka cluster's id: another cluster's offsets mean nothing here.
    cluster         text NOT NULL,
    topic           text NOT NULL,
    partition       integer NOT NULL,
    -- The offset of the first record that is not stored.
    next_offset     bigint NOT NULL,
    -- The database session of the last consumer that claimed the partition.
    backend_pid     integer,
    backend_started timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster, topic, partition)
) WITH (fillfactor = 50);

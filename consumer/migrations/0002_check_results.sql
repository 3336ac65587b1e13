-- The flat form: first the columns of the original system, then ours.
CREATE VIEW check_results AS
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
FROM checks c
JOIN targets t ON t.id = c.target_id
JOIN locations l ON l.id = c.location_id
JOIN requests r ON r.id = c.request_id;

-- Times are milliseconds since the Unix epoch, ids are hyphenated UUIDs in
-- lower case, states are the numbers of aegis.worker.v1.CommandState. Beside
-- the two AUTOINCREMENT keys and BLOB, everything here is portable SQL.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
);

CREATE TABLE nodes (
    node_id       TEXT NOT NULL PRIMARY KEY,
    role          INTEGER NOT NULL,
    public_key    BLOB NOT NULL,
    capabilities  BLOB NOT NULL,
    grpc_address  TEXT NOT NULL,
    enrolled_at   BIGINT NOT NULL,
    registered_at BIGINT,
    deregistered  BOOLEAN NOT NULL DEFAULT FALSE,
    banned        BOOLEAN NOT NULL DEFAULT FALSE,
    ban_reason    TEXT NOT NULL DEFAULT '',
    facts         BLOB,
    config_status BLOB
);

CREATE TABLE enrolment_tokens (
    token_id   TEXT NOT NULL PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,
    node_id    TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    spent_at   BIGINT,
    spent_by   TEXT,
    note       TEXT NOT NULL
);

CREATE TABLE submissions (
    request_id TEXT NOT NULL PRIMARY KEY,
    digest     BLOB NOT NULL,
    group_id   TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE commands (
    command_id        TEXT NOT NULL PRIMARY KEY,
    group_id          TEXT NOT NULL,
    node_id           TEXT NOT NULL,
    name              TEXT NOT NULL,
    payload           BLOB NOT NULL,
    state             INTEGER NOT NULL,
    issuer            TEXT NOT NULL,
    traceparent       TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    not_before        BIGINT,
    start_by          BIGINT,
    timeout_ms        BIGINT,
    delivery          INTEGER NOT NULL DEFAULT 0,
    delivered_at      BIGINT,
    started_at        BIGINT,
    finished_at       BIGINT,
    attempt           INTEGER NOT NULL DEFAULT 0,
    cancel_requested  BOOLEAN NOT NULL DEFAULT FALSE,
    cancel_reason     TEXT NOT NULL DEFAULT '',
    response          BLOB,
    error             BLOB,
    output            BLOB,
    output_cut        BIGINT NOT NULL DEFAULT 0,
    receipt           BLOB,
    receipt_signature BLOB
);

CREATE INDEX commands_by_node ON commands (node_id, state);
CREATE INDEX commands_by_group ON commands (group_id);
CREATE INDEX commands_by_start_by ON commands (state, start_by);

CREATE TABLE config_layers (
    scope    TEXT NOT NULL,
    name     TEXT NOT NULL,
    document BLOB NOT NULL,
    set_by   TEXT NOT NULL,
    set_at   BIGINT NOT NULL,
    PRIMARY KEY (scope, name)
);

CREATE TABLE events (
    event_id   INTEGER PRIMARY KEY AUTOINCREMENT,
    at         BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    node_id    TEXT NOT NULL,
    command_id TEXT NOT NULL,
    message    TEXT NOT NULL
);

CREATE TABLE audit (
    audit_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at       BIGINT NOT NULL,
    operator TEXT NOT NULL,
    action   TEXT NOT NULL,
    detail   TEXT NOT NULL,
    result   TEXT NOT NULL
);

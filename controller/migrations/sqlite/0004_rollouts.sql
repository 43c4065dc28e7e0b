-- What each layer was set to; an empty document removed it.
CREATE TABLE config_revisions (
    revision   BIGINT NOT NULL PRIMARY KEY,
    scope      TEXT NOT NULL,
    name       TEXT NOT NULL,
    document   BLOB NOT NULL,
    set_by     TEXT NOT NULL,
    set_at     BIGINT NOT NULL,
    rollout_id TEXT NOT NULL DEFAULT ''
);

CREATE INDEX config_revisions_by_layer ON config_revisions (scope, name, revision);

CREATE TABLE rollouts (
    rollout_id      TEXT NOT NULL PRIMARY KEY,
    scope           TEXT NOT NULL,
    name            TEXT NOT NULL,
    revision        BIGINT NOT NULL,
    -- The document that nodes have until they are released.
    previous        BLOB NOT NULL,
    -- 'running', 'stopped', 'completed' or 'aborted'.
    state           TEXT NOT NULL,
    reason          TEXT NOT NULL DEFAULT '',
    started_by      TEXT NOT NULL,
    started_at      BIGINT NOT NULL,
    finished_at     BIGINT,
    batch_nodes     INTEGER NOT NULL,
    max_failures    INTEGER NOT NULL,
    node_timeout_ms BIGINT NOT NULL,
    pause_ms        BIGINT NOT NULL
);

CREATE INDEX rollouts_by_state ON rollouts (state);

CREATE TABLE rollout_nodes (
    rollout_id  TEXT NOT NULL,
    node_id     TEXT NOT NULL,
    place       INTEGER NOT NULL,
    -- 0 until it is released.
    batch       INTEGER NOT NULL DEFAULT 0,
    released_at BIGINT,
    -- Whether it was connected when it was released.
    present     BOOLEAN NOT NULL DEFAULT FALSE,
    command_id  TEXT,
    forgiven    BOOLEAN NOT NULL DEFAULT FALSE,
    -- How it stood when the rollout ended.
    end_state   TEXT NOT NULL DEFAULT '',
    end_step    TEXT NOT NULL DEFAULT '',
    end_reason  TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (rollout_id, node_id)
);

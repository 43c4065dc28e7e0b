-- When a command ended by the controller's own clock: nodes have a say in
-- finished_at.
ALTER TABLE commands ADD COLUMN ended_at BIGINT;
UPDATE commands SET ended_at = finished_at WHERE state >= 5;

-- The queue: open commands alone, so that it stays small however much is kept.
DROP INDEX commands_by_node;
CREATE INDEX commands_open ON commands (node_id, state, name, not_before, command_id)
    WHERE state < 5;

CREATE INDEX commands_by_end ON commands (ended_at);
CREATE INDEX submissions_by_group ON submissions (group_id);

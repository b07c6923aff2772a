-- The tables of the agent service. Re-runnable: applied under an advisory lock at every start.
--
-- `events` is the journal; everything else is a projection of it, written in the same transaction.
-- Every such transaction begins with an UPDATE of agent_states that names the owner's epoch; where
-- that finds no row, another owner exists and nothing is written (actors/projections.py).
-- Free text in text and jsonb columns has U+0000 escaped (actors/records.py): PostgreSQL has none.

CREATE TABLE IF NOT EXISTS schema_version (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version    integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO schema_version (version) VALUES (3)
ON CONFLICT (only_row) DO UPDATE SET version = excluded.version, applied_at = now()
WHERE schema_version.version < excluded.version;

-- Epochs come from one sequence, so that the epoch of a deleted project never comes back.
CREATE SEQUENCE IF NOT EXISTS project_epochs;

CREATE TABLE IF NOT EXISTS projects (
    id         text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    status     text NOT NULL DEFAULT 'idle'
               CHECK (status IN ('idle', 'generating', 'paused', 'complete', 'error')),
    title      text NOT NULL DEFAULT '',            -- the first description's beginning
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()   -- of the last change of run, queue or state
);
CREATE INDEX IF NOT EXISTS projects_newest ON projects (updated_at DESC, id);
-- Of the ids that are no host names of their own (actors/addresses.py).
CREATE INDEX IF NOT EXISTS projects_digest
    ON projects (left(encode(sha256(id::bytea), 'hex'), 20));

-- One row per project, updated up to 20 times a second while its model writes. No index holds a
-- column that such an update changes, and half of each page is free: the updates stay within their
-- page (HOT) and leave no work behind in an index.
CREATE TABLE IF NOT EXISTS agent_states (
    project_id           text PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    current_state        text NOT NULL DEFAULT 'idle',
    current_phase_index  integer,                   -- 0-based, of the newest phase_designing
    phases               jsonb NOT NULL DEFAULT '[]',
    sandbox_kind         text,
    sandbox_container_id text,
    preview_url          text,
    epoch                bigint NOT NULL,           -- the number of the owner
    last_seq             bigint NOT NULL DEFAULT 0,
    trimmed_seq          bigint NOT NULL DEFAULT 0, -- the journal begins after this number
    run                  jsonb,                     -- the open run
    problem              jsonb,                     -- why the last run ended early
    problems             jsonb NOT NULL DEFAULT '[]', -- open ones: texts for the next plan
    usage                jsonb,                     -- totals of all model calls
    is_clean             boolean NOT NULL DEFAULT true, -- the last owner passivated in order
    updated_at           timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX IF NOT EXISTS agent_states_open_run ON agent_states (project_id)
    WHERE run IS NOT NULL;

CREATE TABLE IF NOT EXISTS generated_files (
    project_id  text NOT NULL REFERENCES projects ON DELETE CASCADE,
    file_path   text NOT NULL,
    content     bytea NOT NULL,                     -- UTF-8; bytea, since it may hold U+0000
    size        integer NOT NULL,                   -- in bytes
    sha256      text NOT NULL,                      -- in hex
    phase_index integer NOT NULL,                   -- 0-based; -1 before any phase
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, file_path)
);

-- The journal. `data` is the very text that viewers were sent. Rows of file_start and file_chunk
-- exist for the open file alone; when a run ends or the project hibernates, only the newest rows are
-- kept (CODEGEN_KEPT_EVENTS). No foreign key: its check would cost more than the insert, and
-- the epoch's guard already holds the project's row.
CREATE TABLE IF NOT EXISTS events (
    project_id text NOT NULL,
    seq        bigint NOT NULL,
    type       text NOT NULL,
    data       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE INDEX IF NOT EXISTS events_of_open_file ON events (project_id, seq)
    WHERE type IN ('file_start', 'file_chunk');
CREATE INDEX IF NOT EXISTS events_of_sandbox_log ON events (project_id, seq)
    WHERE type = 'sandbox_log';

-- Every command ever carried out. Of generate commands: the queue, the descriptions. Of all: the
-- answer for a repeat, {place, seq} or, for a cancel, {code, seq}.
CREATE TABLE IF NOT EXISTS commands (
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    command_id text NOT NULL,
    kind       text NOT NULL DEFAULT 'generate',
    payload    jsonb NOT NULL,                      -- {description, model, maxPhases} to generate
    status     text NOT NULL CHECK (status IN ('queued', 'running', 'done', 'dropped')),
    answer     jsonb,
    -- command_queued's seq, or -seq at the head of the queue; later run_started's seq
    position   bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, command_id)
);
CREATE INDEX IF NOT EXISTS commands_queued ON commands (project_id) WHERE status = 'queued';

CREATE TABLE IF NOT EXISTS usage (
    project_id        text NOT NULL REFERENCES projects ON DELETE CASCADE,
    seq               bigint NOT NULL,
    purpose           text NOT NULL,
    model             text NOT NULL,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cost_usd          double precision,             -- NULL where nobody knows
    estimated         boolean NOT NULL DEFAULT false, -- the server did not tell the tokens
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, seq)
);

-- Of all projects, deleted ones included, by the day (UTC) of a call's end.
CREATE TABLE IF NOT EXISTS daily_usage (
    day               date PRIMARY KEY,
    calls             bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cost_usd          double precision NOT NULL,
    estimated_calls   bigint NOT NULL
);

-- What the model call of a project that is under way can cost at most; only where a cap is set.
CREATE TABLE IF NOT EXISTS reservations (
    project_id text PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    cost_usd   double precision NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now()
);

-- Reserve what the owner's next model call can cost, in place of what it had reserved, if the day's
-- cap leaves it. Who reserves waits for others who do, so that all see what is left: under the lock
-- each statement of a volatile function has a snapshot of its own.
CREATE OR REPLACE FUNCTION reserve_cost(
    project text, owner bigint, needed double precision, cap double precision
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7305816211);
    INSERT INTO reservations (project_id, cost_usd)
    SELECT project, needed
     WHERE EXISTS (SELECT FROM agent_states WHERE project_id = project AND epoch = owner)
       AND needed <= cap
         - coalesce((SELECT cost_usd FROM daily_usage
                      WHERE day = (now() AT TIME ZONE 'UTC')::date), 0)
         - coalesce((SELECT sum(cost_usd) FROM reservations WHERE project_id <> project), 0)
    ON CONFLICT (project_id) DO UPDATE SET cost_usd = excluded.cost_usd, made_at = now();
    RETURN FOUND;
END $$;

-- What a database of an earlier version lacks.

ALTER TABLE agent_states ADD COLUMN IF NOT EXISTS trimmed_seq bigint NOT NULL DEFAULT 0; -- 2
ALTER TABLE agent_states ADD COLUMN IF NOT EXISTS problems jsonb NOT NULL DEFAULT '[]'; -- 3
ALTER TABLE agent_states ADD COLUMN IF NOT EXISTS usage jsonb;
ALTER TABLE usage ADD COLUMN IF NOT EXISTS estimated boolean NOT NULL DEFAULT false;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'projects_status_check'
                      AND conrelid = 'projects'::regclass
                      AND pg_get_constraintdef(oid) LIKE '%paused%') THEN
        ALTER TABLE projects DROP CONSTRAINT projects_status_check;
        ALTER TABLE projects ADD CONSTRAINT projects_status_check
              CHECK (status IN ('idle', 'generating', 'paused', 'complete', 'error'));
    END IF;
END $$;

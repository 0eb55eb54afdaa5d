-- A leaner job row: docs/decisions/0023. Most jobs are a row of `job` and nothing else, and no index
-- holds what every job enters and leaves.

-- What few jobs have. job.options says whether a row is here.
CREATE TABLE job_option (
  job INTEGER PRIMARY KEY,
  backoff INTEGER NOT NULL DEFAULT 0,       -- ms; 0: the broker's
  backoff_max INTEGER NOT NULL DEFAULT 0,
  deadline INTEGER NOT NULL DEFAULT 0,      -- Unix ms; 0: none
  retention INTEGER NOT NULL DEFAULT 0,     -- s after its end; 0: the broker's
  credits INTEGER NOT NULL DEFAULT 0,       -- held with it; the transaction's id is the job's
  retry_of INTEGER,
  retried_by INTEGER,                       -- the job that does a dead letter again
  user TEXT,
  unique_key TEXT,                          -- in force while job_key has it
  tags TEXT,                                -- ",a,b,": words between commas
  operation TEXT,
  metadata_version INTEGER NOT NULL DEFAULT 0,
  metadata TEXT
);
-- The unique keys of unfinished jobs.
CREATE TABLE job_key (service INTEGER NOT NULL, unique_key TEXT NOT NULL, job INTEGER NOT NULL,
                      PRIMARY KEY (service, unique_key)) WITHOUT ROWID;
-- The jobs in state 3.
CREATE TABLE dead_letter (service INTEGER NOT NULL, job INTEGER NOT NULL,
                          PRIMARY KEY (service, job)) WITHOUT ROWID;
-- The unfinished jobs with ids below counter 'open_from'; from there on a look at `job` tells. seq as
-- their rows have it: so a start knows the order before it reads them.
CREATE TABLE job_open (job INTEGER PRIMARY KEY, seq INTEGER NOT NULL);

INSERT INTO job_option (job, backoff, backoff_max, deadline, retention, credits, retry_of, retried_by,
                        user, unique_key, tags, operation, metadata_version, metadata)
  SELECT id, backoff, backoff_max, deadline, retention, credits, retry_of, retried_by,
         user, unique_key, tags, operation, metadata_version, metadata
  FROM job
  WHERE backoff OR backoff_max OR deadline OR retention OR credits OR retry_of IS NOT NULL
     OR retried_by IS NOT NULL OR user IS NOT NULL OR unique_key IS NOT NULL OR tags IS NOT NULL
     OR operation IS NOT NULL OR metadata_version OR metadata IS NOT NULL;
CREATE INDEX job_option_user ON job_option (user, job) WHERE user IS NOT NULL;
INSERT INTO job_key
  SELECT service, unique_key, id FROM job WHERE unique_key IS NOT NULL AND state < 2;
INSERT INTO dead_letter SELECT service, id FROM job WHERE state = 3;
INSERT INTO counter
  VALUES ('open_from', coalesce((SELECT id FROM job ORDER BY id DESC LIMIT 1 OFFSET 8191), 0));
INSERT INTO job_open
  SELECT id, seq FROM job
  WHERE state < 2 AND id < (SELECT value FROM counter WHERE name = 'open_from')
  ORDER BY id;

-- What every change reads stands first, what may be large last.
ALTER TABLE job RENAME TO job_before;
CREATE TABLE job (
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,                   -- 0 queued 1 processing 2 complete 3 error 4 cancelled
  epoch INTEGER NOT NULL DEFAULT 0,         -- of the lease in force
  attempt INTEGER NOT NULL DEFAULT 0,
  options INTEGER NOT NULL DEFAULT 0,       -- 0: no row in job_option; bits: storage/read/jobs.h
  service INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  progress INTEGER NOT NULL DEFAULT 0,
  seq INTEGER NOT NULL,                     -- order inside the lane: tag, then seq
  tag INTEGER NOT NULL DEFAULT 0,
  not_before INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  tenant TEXT NOT NULL DEFAULT '',
  error TEXT,
  error_detail TEXT,
  result TEXT,
  params TEXT NOT NULL,
  history TEXT NOT NULL DEFAULT ''          -- storage/read/job_history.h
);
INSERT INTO job (id, state, epoch, attempt, options, service, lane, max_attempts, progress, seq, tag,
                 not_before, created_at, updated_at, tenant, error, error_detail, result, params,
                 history)
  SELECT b.id, b.state, b.epoch, b.attempt,
         (o.job IS NOT NULL) + 2 * (o.unique_key IS NOT NULL),
         b.service, b.lane, b.max_attempts, b.progress, b.seq, b.tag,
         b.not_before, b.created_at, b.updated_at, b.tenant, b.error, b.error_detail, b.result,
         b.params, b.history
  FROM job_before b LEFT JOIN job_option o ON o.job = b.id
  ORDER BY b.id;
DROP TABLE job_before;

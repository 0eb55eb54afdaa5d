-- The broker, widened: job options, credits, notifications, settings. Columns that few jobs use cost
-- a byte a row; indexes on them are partial.

ALTER TABLE job ADD COLUMN tag INTEGER NOT NULL DEFAULT 0;      -- fair order inside the lane, before seq
ALTER TABLE job ADD COLUMN unique_key TEXT;                     -- in force while state < 2
ALTER TABLE job ADD COLUMN backoff INTEGER NOT NULL DEFAULT 0;  -- ms; 0: the broker's
ALTER TABLE job ADD COLUMN backoff_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN deadline INTEGER NOT NULL DEFAULT 0; -- Unix ms; 0: none
ALTER TABLE job ADD COLUMN tags TEXT;                           -- ",a,b,": words between commas
ALTER TABLE job ADD COLUMN retention INTEGER NOT NULL DEFAULT 0;-- s after its end; 0: the broker's
ALTER TABLE job ADD COLUMN user TEXT;
ALTER TABLE job ADD COLUMN credits INTEGER NOT NULL DEFAULT 0;  -- held with it; the transaction's id is the job's
ALTER TABLE job ADD COLUMN operation TEXT;
ALTER TABLE job ADD COLUMN metadata_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN retry_of INTEGER;
ALTER TABLE job ADD COLUMN retried_by INTEGER;                  -- the job that does a dead letter again
UPDATE job SET history = '';                                    -- now in the form of storage/read/job_history.h
CREATE UNIQUE INDEX job_unique ON job (service, unique_key) WHERE unique_key IS NOT NULL AND state < 2;
CREATE INDEX job_dead ON job (service, id) WHERE state = 3;
CREATE INDEX job_user ON job (user, id) WHERE user IS NOT NULL;

-- Ended jobs with a retention of their own; those without go by their age.
CREATE TABLE job_expiry (at INTEGER NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (at, job)) WITHOUT ROWID;

-- granted = available + held + spent, always.
CREATE TABLE user_credits (
  user TEXT PRIMARY KEY,
  granted INTEGER NOT NULL DEFAULT 0,
  available INTEGER NOT NULL DEFAULT 0 CHECK (available >= 0),
  held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
  spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;
-- state: 0 granted 1 held 2 spent 3 refunded. id is the client's, or the job's.
CREATE TABLE credit_transactions (
  id INTEGER PRIMARY KEY,
  user TEXT NOT NULL,
  job INTEGER,
  amount INTEGER NOT NULL,
  state INTEGER NOT NULL,
  operation TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX credit_transactions_user ON credit_transactions (user, id);

-- Kept until seen. id is the event it was made from.
CREATE TABLE notification (
  id INTEGER PRIMARY KEY,
  user TEXT NOT NULL,
  kind TEXT NOT NULL,
  at INTEGER NOT NULL,
  seen_at INTEGER,
  body TEXT NOT NULL                        -- JSON object
);
CREATE INDEX notification_unseen ON notification (user, id) WHERE seen_at IS NULL;
CREATE INDEX notification_seen ON notification (seen_at) WHERE seen_at IS NOT NULL;
INSERT INTO counter VALUES ('notified', 0);  -- the newest event the notifier has handled

-- What operators set; -1: not set. of_tenant 0: the queue itself.
CREATE TABLE queue_setting (
  service TEXT NOT NULL,
  of_tenant INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  paused INTEGER NOT NULL DEFAULT -1,
  draining INTEGER NOT NULL DEFAULT -1,
  concurrency INTEGER NOT NULL DEFAULT -1,
  rate_per_minute INTEGER NOT NULL DEFAULT -1,
  max_waiting INTEGER NOT NULL DEFAULT -1,
  overflow INTEGER NOT NULL DEFAULT -1,
  weight INTEGER NOT NULL DEFAULT -1,
  PRIMARY KEY (service, of_tenant, tenant)
) WITHOUT ROWID;

-- Integer keys, partial indexes on what is unfinished, history inside the job row, events packed per commit: measured, see docs/decisions/.

CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('epoch', 0), ('gone_seq', 0), ('job_seq', 0);

-- Bytes kept once. state: 0 live, 1 dying (no reference left, files being removed).
CREATE TABLE blob (
  id INTEGER PRIMARY KEY,
  stored_hash BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  mime TEXT NOT NULL,
  ext TEXT NOT NULL,
  width INTEGER NOT NULL DEFAULT 0,
  height INTEGER NOT NULL DEFAULT 0,
  state INTEGER NOT NULL DEFAULT 0,
  refs INTEGER NOT NULL,                    -- media rows
  status INTEGER NOT NULL,                  -- 0 PENDING 1 READY 2 FAILED
  metadata_kept INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  job INTEGER,                              -- last image-process job
  thumbhash BLOB,
  variants TEXT,                            -- JSON array, see read/media.h
  error TEXT,                               -- why FAILED: slug
  error_detail TEXT,
  processing_started_at INTEGER,
  processing_completed_at INTEGER
);

-- (hash as received, strip version) -> blob, where the kept bytes differ from the received ones.
CREATE TABLE alias (hash BLOB NOT NULL, strip_version INTEGER NOT NULL, blob INTEGER NOT NULL,
                    PRIMARY KEY (hash, strip_version)) WITHOUT ROWID;
CREATE INDEX alias_blob ON alias (blob);

-- A key in the store: <folder>/<stored_hash>.<ext>; refs counts media rows of this folder.
CREATE TABLE placement (
  blob INTEGER NOT NULL, folder TEXT NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,         -- 0 live 1 dying
  refs INTEGER NOT NULL,
  PRIMARY KEY (blob, folder)
) WITHOUT ROWID;

CREATE TABLE media (
  id INTEGER PRIMARY KEY,
  blob INTEGER NOT NULL,
  folder TEXT NOT NULL,
  filename TEXT NOT NULL,
  hash BLOB NOT NULL,                       -- of the bytes as received
  status INTEGER NOT NULL,                  -- as blob.status
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX media_blob ON media (blob);
CREATE INDEX media_folder ON media (folder, id);
CREATE INDEX media_unfinished ON media (status, id) WHERE status <> 1;

-- Media rows a folder: counting a million of them takes longer than a reader may read.
CREATE TABLE folder (name TEXT PRIMARY KEY, media INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER media_in AFTER INSERT ON media BEGIN
  INSERT INTO folder VALUES (new.folder, 1) ON CONFLICT (name) DO UPDATE SET media = media + 1;
END;
CREATE TRIGGER media_out AFTER DELETE ON media BEGIN
  UPDATE folder SET media = media - 1 WHERE name = old.folder;
  DELETE FROM folder WHERE name = old.folder AND media = 0;
END;

-- state: 0 queued 1 processing 2 complete 3 error 4 cancelled.
CREATE TABLE service (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE job (
  id INTEGER PRIMARY KEY,
  service INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  state INTEGER NOT NULL,
  seq INTEGER NOT NULL,                     -- FIFO order inside the lane
  attempt INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0,         -- of the lease in force
  progress INTEGER NOT NULL DEFAULT 0,
  not_before INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  tenant TEXT NOT NULL DEFAULT '',
  params TEXT NOT NULL,
  metadata TEXT,
  result TEXT,
  error TEXT,
  error_detail TEXT,
  history TEXT NOT NULL DEFAULT ''          -- JSON array items joined by commas: one a transition
);
CREATE INDEX job_unfinished ON job (state, seq) WHERE state < 2;

-- The event log: a row a commit.
CREATE TABLE event (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  at INTEGER NOT NULL,
  body TEXT NOT NULL                        -- JSON array of the events
);

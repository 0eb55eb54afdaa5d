-- Leases that do not count as attempts: attempt - given_back of them do, and max_attempts stays as
-- submitted. Before, a lease given back raised max_attempts instead; rows of then keep that.
ALTER TABLE job ADD COLUMN given_back INTEGER NOT NULL DEFAULT 0;

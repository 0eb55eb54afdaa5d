-- The giver's own name for a grant: given twice, it counts once.
CREATE TABLE grant_key (
  key TEXT PRIMARY KEY,
  id INTEGER NOT NULL                       -- of its row in credit_transactions
) WITHOUT ROWID;

-- A dead letter that was done again is none any more: what does it becomes one if it fails, too.
DELETE FROM dead_letter
  WHERE EXISTS (SELECT 1 FROM job_option o WHERE o.job = dead_letter.job AND o.retried_by IS NOT NULL);
-- For a removal that failed another job was made at once.
DELETE FROM dead_letter WHERE service = (SELECT id FROM service WHERE name = 'blob-reap');
-- Settings that say nothing.
DELETE FROM queue_setting
  WHERE (of_tenant = 0 OR tenant = '*') AND paused <= 0 AND draining <= 0 AND concurrency <= 0
    AND rate_per_minute <= 0 AND max_waiting <= 0 AND overflow = -1 AND weight IN (-1, 1);

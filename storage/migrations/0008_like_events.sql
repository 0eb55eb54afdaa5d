-- event.body says of jobs that had the same happen to them only once what it was
-- (storage/read/event_text.h). Older rows are read as they are; an older kervan must not read the new ones.
SELECT 1;

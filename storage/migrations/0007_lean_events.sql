-- event.body no longer says what first, last and at of the row say (storage/read/event_text.h): the
-- events have neither "id" nor "at" there. Older rows are read as they are; an older kervan must not
-- read the new ones.
SELECT 1;

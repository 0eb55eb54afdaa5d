/* What the tables of jobs say about one another: a statement that gives 0 where all agree. */
#ifndef KV_TESTS_JOBS_TABLES_H
#define KV_TESTS_JOBS_TABLES_H

/* Rows of one and not of the other. */
#define KV_MISSING_(a, b) "(SELECT count(*) FROM (SELECT * FROM (" a ") EXCEPT " b ")) + "
#define KV_DIFFER_(a, b)  KV_MISSING_(a, b) KV_MISSING_(b, a)

#define KV_FROM_  "(SELECT value FROM counter WHERE name = 'open_from')"
#define KV_BELOW_ "SELECT id, seq FROM job WHERE state < 2 AND id < " KV_FROM_
#define KV_OPEN_  "SELECT job, seq FROM job_open"
#define KV_WITH_KEY_                                                                               \
    "SELECT service, unique_key, id FROM job JOIN job_option ON job = id "                         \
    "WHERE state < 2 AND unique_key IS NOT NULL"
#define KV_KEYS_ "SELECT service, unique_key, job FROM job_key"
#define KV_IN_ERROR_                                                                               \
    "SELECT service, id FROM job LEFT JOIN job_option ON job = id "                                \
    "WHERE state = 3 AND retried_by IS NULL"
#define KV_DEAD_         "SELECT service, job FROM dead_letter"
#define KV_SAY_OPTIONS_  "SELECT id, options FROM job WHERE options > 0"
#define KV_HAVE_OPTIONS_ "SELECT job, 1 + 2 * (unique_key IS NOT NULL) FROM job_option"

#define KV_JOBS_TABLES_WRONG                                                                       \
    "SELECT " KV_DIFFER_(KV_BELOW_, KV_OPEN_) KV_DIFFER_(KV_WITH_KEY_, KV_KEYS_)                   \
        KV_DIFFER_(KV_IN_ERROR_, KV_DEAD_) KV_DIFFER_(KV_SAY_OPTIONS_, KV_HAVE_OPTIONS_) "0"

#endif

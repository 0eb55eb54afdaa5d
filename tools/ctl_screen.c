#include "tools/ctl_screen.h"

#include <stdlib.h>
#include <string.h>

#include "broker/admin_text.h"

enum {
    COLS = 12,
    GAP = 2,
    NAME_NICE = 20, /* characters: names are cut down to it before columns go */
    NAME_LEAST = 6,
    CELL_MAX = 120,
    HEADS = 5, /* lines beside the rows: title, blank, heads, blank, heads */
    FEW_ROWS = 3
};

typedef struct column {
    const char *head; /* as in kv_table */
    const char *path;
    kv_column_kind kind;
    int leaves; /* the highest leaves first; 0: stays */
    bool name;  /* may be shortened */
} column;

static const column queue_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT, 0, true},
    {">WAITING", "waiting", KV_COLUMN_TEXT, 1, false},
    {">RUNNING", "running", KV_COLUMN_TEXT, 2, false},
    {">DELAYED", "delayed", KV_COLUMN_TEXT, 9, false},
    {">WORKERS", "workers", KV_COLUMN_TEXT, 8, false},
    {">JOBS/S", "throughput.s10", KV_COLUMN_RATE, 3, false},
    {">WAIT P99", "wait_ms.p99", KV_COLUMN_MS, 6, false},
    {">RUN P99", "service_ms.p99", KV_COLUMN_MS, 7, false},
    {">ERRORS", "error_rate", KV_COLUMN_PERCENT, 5, false},
    {">OLDEST", "oldest_waiting_s", KV_COLUMN_S, 4, false},
    {"HEALTH", "health", KV_COLUMN_TEXT, 0, false},
};
static const column worker_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT, 0, true}, {"WORKER", "name", KV_COLUMN_TEXT, 0, true},
    {">TAKES", "credit", KV_COLUMN_TEXT, 3, false},  {">HAS", "leased", KV_COLUMN_TEXT, 1, false},
    {">HEARD", "heard_ms", KV_COLUMN_MS, 2, false},
};

typedef struct table {
    const char *what; /* "queues" */
    const column *columns;
    int cols, rows;  /* rows: that are shown */
    size_t all_rows; /* that there are */
    int widths[COLS];
    bool out[COLS]; /* left out */
    kv_buf cells;   /* row by row, each ended by a NUL */
} table;

static int characters(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* ---- what is shown ---- */

static void fill(table *t, const json_t *list)
{
    kv_buf text;
    kv_buf_init(&text, 1 << 20);
    for (int c = 0; c < t->cols; c++)
        t->widths[c] = characters(t->columns[c].head) - (t->columns[c].head[0] == '>');
    for (int r = 0; r < t->rows; r++) {
        for (int c = 0; c < t->cols; c++) {
            kv_buf_clear(&text);
            kv_column_text(json_array_get(list, (size_t)r), t->columns[c].path, t->columns[c].kind,
                           &text);
            int n = (int)kv_plain_text(kv_buf_slice(&text), CELL_MAX, &t->cells);
            kv_buf_addc(&t->cells, '\0');
            t->widths[c] = n > t->widths[c] ? n : t->widths[c];
        }
    }
    kv_buf_release(&text);
}

/* ---- the width ---- */

static int needed(const table *t)
{
    int sum = -GAP;
    for (int c = 0; c < t->cols; c++)
        sum += t->out[c] ? 0 : t->widths[c] + GAP;
    return sum;
}

/* The longest names lose what is too much, down to `least`. */
static void shorten(table *t, int width, int least)
{
    for (;;) {
        int over = needed(t) - width, longest = -1;
        for (int c = 0; c < t->cols; c++) {
            if (t->columns[c].name && t->widths[c] > least &&
                (longest < 0 || t->widths[c] > t->widths[longest]))
                longest = c;
        }
        if (over <= 0 || longest < 0)
            return;
        t->widths[longest]--;
    }
}

/* False: all that may leave has left. */
static bool leave_out(table *t)
{
    int next = -1;
    for (int c = 0; c < t->cols; c++) {
        int leaves = t->out[c] ? 0 : t->columns[c].leaves;
        if (leaves > 0 && (next < 0 || leaves > t->columns[next].leaves))
            next = c;
    }
    if (next >= 0)
        t->out[next] = true;
    return next >= 0;
}

/* A column that left may have left room for what a name had lost. */
static void fit(table *t, int width)
{
    int wanted[COLS];
    memcpy(wanted, t->widths, sizeof wanted);
    for (;;) {
        memcpy(t->widths, wanted, sizeof wanted);
        shorten(t, width, NAME_NICE);
        if (needed(t) <= width || !leave_out(t))
            break;
    }
    shorten(t, width, NAME_LEAST);
}

/* ---- writing ---- */

/* The characters from `from`, so many of them. */
static void add_part(const char *text, int from, int n, kv_buf *out)
{
    int at = -1;
    for (; *text; text++) {
        at += ((unsigned char)*text & 0xc0) != 0x80;
        if (at >= from && at < from + n)
            kv_buf_addc(out, *text);
    }
}

static void add_cell(const char *text, int width, bool right, bool last, kv_buf *out)
{
    int n = characters(text);
    if (n > width) { /* names often differ at their end */
        int tail = (width - 1) / 2;
        add_part(text, 0, width - 1 - tail, out);
        kv_buf_adds(out, "…");
        add_part(text, n - tail, tail, out);
        return;
    }
    if (right)
        kv_buf_addf(out, "%*s", width - n, "");
    kv_buf_adds(out, text);
    if (!right && !last)
        kv_buf_addf(out, "%*s", width - n, "");
}

/* `cell`: the first one's text; the next row's. */
static const char *add_row(const table *t, const char *cell, int width, kv_buf *out)
{
    kv_buf line;
    kv_buf_init(&line, 1 << 20);
    for (int c = 0; c < t->cols; c++) {
        const char *head = t->columns[c].head;
        bool right = head[0] == '>';
        const char *text = cell ? cell : head + right;
        if (!t->out[c]) {
            kv_buf_adds(&line, line.len ? "  " : "");
            add_cell(text, t->widths[c], right, c == t->cols - 1, &line);
        }
        if (cell)
            cell += strlen(cell) + 1;
    }
    add_part(kv_buf_str(&line), 0, width, out); /* of a screen that is too narrow for all */
    kv_buf_addc(out, '\n');
    kv_buf_release(&line);
    return cell;
}

static void write_table(table *t, const json_t *list, int width, kv_buf *out)
{
    size_t hidden = t->all_rows - (size_t)t->rows;
    if (t->all_rows == 0) {
        kv_buf_addf(out, "no %s\n", t->what);
        return;
    }
    kv_buf_init(&t->cells, 4 << 20);
    fill(t, list);
    fit(t, width);
    (void)add_row(t, NULL, width, out);
    const char *cell = kv_buf_str(&t->cells);
    for (int r = 0; r < t->rows && kv_buf_ok(&t->cells); r++)
        cell = add_row(t, cell, width, out);
    if (hidden > 0)
        kv_buf_addf(out, "… %zu more %s\n", hidden, t->what);
    kv_buf_release(&t->cells);
}

/* ---- the height ---- */

/* Rows for a table that has so many lines; one of them is for those that are hidden. */
static int rows_in(size_t rows, int lines)
{
    if ((size_t)(lines > 0 ? lines : 0) >= rows)
        return (int)rows;
    return lines > 1 ? lines - 1 : 0;
}

/* Queues first, but the workers keep a third of it. */
static void share(table *queues, table *workers, int lines)
{
    int q = (int)queues->all_rows, w = (int)workers->all_rows, third = lines / 3;
    int for_workers = lines - q > third ? lines - q : third;
    if (for_workers > w)
        for_workers = w;
    if (for_workers < FEW_ROWS && w >= FEW_ROWS && lines > 2 * FEW_ROWS)
        for_workers = FEW_ROWS;
    queues->rows = rows_in(queues->all_rows, lines - for_workers);
    workers->rows = rows_in(workers->all_rows, for_workers);
}

/* The first lines of `text`, cut to the width. */
static void add_lines(const char *text, int width, int height, kv_buf *out)
{
    for (int row = 0; *text && row < height; row++) {
        size_t len = strcspn(text, "\n");
        char line[1024];
        size_t n = len < sizeof line - 1 ? len : sizeof line - 1;
        memcpy(line, text, n);
        line[n] = '\0';
        add_part(line, 0, width, out);
        kv_buf_addc(out, '\n');
        text += len + (text[len] == '\n');
    }
}

void kv_ctl_screen(const json_t *all, const char *title, int width, int height, kv_buf *out)
{
    const json_t *queue_list = json_object_get(all, "queues");
    const json_t *worker_list = json_object_get(all, "workers");
    table queues = {"queues", queue_columns, sizeof queue_columns / sizeof *queue_columns,
                    .all_rows = json_array_size(queue_list)};
    table workers = {"workers", worker_columns, sizeof worker_columns / sizeof *worker_columns,
                     .all_rows = json_array_size(worker_list)};
    kv_buf text;
    kv_buf_init(&text, 8 << 20);
    share(&queues, &workers, height - HEADS);
    kv_buf_addf(&text, "%s\n\n", title);
    write_table(&queues, queue_list, width, &text);
    kv_buf_addc(&text, '\n');
    write_table(&workers, worker_list, width, &text);
    add_lines(kv_buf_str(&text), width, height, out);
    out->failed = out->failed || !kv_buf_ok(&text);
    kv_buf_release(&text);
}

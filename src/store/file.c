/* See file.h. */
#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOT_OURS "a database, but not one of revec.store's: name another file"

enum { APPLICATION = 0x72766563 /* "rvec" */, SCHEMA = 1 };

static int say(struct rv_store *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int say(struct rv_store *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(s->why, sizeof s->why, format, args);
    va_end(args);
    return -1;
}

/* One line for a result of SQLite's. */
static int explain(struct rv_store *s, int code)
{
    int error = s->db ? sqlite3_system_errno(s->db) : 0;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return say(s, "full: there is no room on the disk, or max_bytes is reached: make room and run again");
    case SQLITE_READONLY:
        return say(s, "read-only: open it for writing, as a user who may write to it and to its folder");
    case SQLITE_NOTADB:
        return say(s, "not a database: name another file, or remove this one");
    case SQLITE_CORRUPT:
        return say(s, "a damaged database: restore it, or build the index in a new file");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return say(s, "locked by another process for more than %g s: try again when that is done", s->timeout_ms / 1000.0);
    case SQLITE_CANTOPEN:
        return say(s, "%s", error ? strerror(error) : "cannot be opened");
    case SQLITE_NOMEM:
        return say(s, "out of memory");
    case SQLITE_IOERR:
        return say(s, "%s: %s", sqlite3_errstr(code), error ? strerror(error) : "the disk or its file system fails");
    default:
        return say(s, "%s", s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code));
    }
}

static int execute(struct rv_store *s, const char *sql)
{
    int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return code ? explain(s, code) : 0;
}

/* The one integer that a query gives. */
static int query(struct rv_store *s, const char *sql, int64_t *value)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
    if (!code) {
        code = sqlite3_step(statement);
        *value = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
        sqlite3_finalize(statement);
    }
    return code == SQLITE_ROW ? 0 : explain(s, code);
}

/* Whether the file is one of ours, by what is written in its head. 1: it is empty, 0: it is, -1: it is not. */
static int check_schema(struct rv_store *s)
{
    int64_t application, version, tables;
    if (query(s, "PRAGMA application_id", &application) || query(s, "PRAGMA user_version", &version) ||
        query(s, "SELECT count(*) FROM sqlite_master", &tables))
        return -1;
    if (!application && !version && !tables)
        return 1;
    if (application != APPLICATION || version < 1)
        return say(s, NOT_OURS);
    if (version > SCHEMA)
        return say(s, "made by a newer revec (schema %lld, this one knows %d): update revec", (long long)version, SCHEMA);
    return 0;
}

static int make_schema(struct rv_store *s)
{
    if (execute(s, "BEGIN IMMEDIATE"))
        return -1;
    char sql[512];
    snprintf(sql, sizeof sql,
             "CREATE TABLE collections(number INTEGER PRIMARY KEY, role TEXT NOT NULL UNIQUE, model TEXT NOT NULL,"
             " dimension INTEGER NOT NULL, distance TEXT NOT NULL);"
             "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION, SCHEMA);
    /* Another process may have been faster. */
    int state = check_schema(s);
    int result = state < 0 ? -1 : execute(s, state ? sql : "COMMIT");
    if (result)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

static int limit_size(struct rv_store *s, int64_t max_bytes)
{
    int64_t page;
    char sql[64];
    if (query(s, "PRAGMA page_size", &page))
        return -1;
    snprintf(sql, sizeof sql, "PRAGMA max_page_count = %lld", (long long)(max_bytes < page ? 1 : max_bytes / page));
    return execute(s, sql);
}

int rv_store_open(struct rv_store *s, const char *path, const struct rv_store_options *options)
{
    s->role = options->role;
    s->timeout_ms = options->timeout_ms;
    s->pid = getpid();
    s->path = strdup(path);
    /* So that no name means something else to SQLite, as ":memory:" and "" do. */
    char *name = NULL;
    if (!s->path || asprintf(&name, "%s%s", *path == '/' ? "" : "./", path) < 0)
        return say(s, "out of memory");
    struct stat st;
    if (!stat(name, &st) && S_ISDIR(st.st_mode)) {
        free(name);
        return say(s, "%s", strerror(EISDIR));
    }
    /* Reading only needs the right to write as well, once: to undo what a killed process left half done. SQLite goes
     * without where it does not have it. */
    int code = sqlite3_open_v2(name, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (options->readonly ? 0 : SQLITE_OPEN_CREATE),
                               NULL);
    free(name);
    if (code)
        return explain(s, code);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, options->timeout_ms);
    /* The file may come from anywhere: nothing in it is to be run. */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    if (!options->readonly && sqlite3_db_readonly(s->db, "main"))
        return explain(s, SQLITE_READONLY);
    int state = check_schema(s);
    if (state > 0)
        state = options->readonly ? say(s, NOT_OURS) : make_schema(s);
    if (state)
        return -1;
    /* What was committed is on the disk, and so is the end of its journal. */
    if (execute(s, options->readonly ? "PRAGMA query_only = ON" : "PRAGMA synchronous = EXTRA"))
        return -1;
    return options->max_bytes ? limit_size(s, options->max_bytes) : 0;
}

void rv_store_close(struct rv_store *s)
{
    if (s->pid != getpid())
        return;
    sqlite3_close(s->db);
    free(s->path);
    s->db = NULL;
    s->path = NULL;
}

sqlite3_stmt *rv_store_prepare(struct rv_store *s, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    char *text = sqlite3_mprintf(sql, (long long)s->number);
    int code = text ? sqlite3_prepare_v2(s->db, text, -1, &statement, NULL) : SQLITE_NOMEM;
    sqlite3_free(text);
    if (code)
        rv_store_fail(s, code);
    return statement;
}

int rv_store_step(struct rv_store *s, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : rv_store_fail(s, code);
}

int rv_store_fail(struct rv_store *s, int code)
{
    s->failed = 1;
    return explain(s, code);
}

int rv_store_refuse(struct rv_store *s, const char *why)
{
    s->failed = 1;
    return say(s, "%s", why);
}

static int run(struct rv_store *s, const char *sql)
{
    sqlite3_stmt *statement = rv_store_prepare(s, sql);
    int result = statement ? rv_store_step(s, statement) : -1;
    sqlite3_finalize(statement); /* a table cannot be dropped while a statement is open */
    return result;
}

static int look_up(struct rv_store *s, const char *role)
{
    s->number = s->dimension = 0;
    sqlite3_stmt *statement = rv_store_prepare(s, "SELECT number, dimension, model FROM collections WHERE role = ?1");
    if (!statement)
        return -1;
    sqlite3_bind_text(statement, 1, role, -1, SQLITE_STATIC);
    int row = rv_store_step(s, statement);
    if (row > 0) {
        int64_t dimension = sqlite3_column_int64(statement, 1);
        const char *model = (const char *)sqlite3_column_text(statement, 2);
        s->number = sqlite3_column_int64(statement, 0);
        s->dimension = (int)dimension;
        snprintf(s->model, sizeof s->model, "%s", model ? model : "");
        if (dimension < 1 || dimension > RV_STORE_DIMENSION || s->number < 1)
            row = rv_store_fail(s, SQLITE_CORRUPT);
    }
    sqlite3_finalize(statement);
    return row < 0 ? -1 : 0;
}

int rv_store_begin(struct rv_store *s, int write)
{
    s->failed = 0;
    if (execute(s, write ? "BEGIN IMMEDIATE" : "BEGIN"))
        return -1;
    s->in_use = 1;
    return look_up(s, s->role) ? rv_store_end(s, 0) : 0;
}

int rv_store_end(struct rv_store *s, int commit)
{
    for (sqlite3_stmt *statement; (statement = sqlite3_next_stmt(s->db, NULL));)
        sqlite3_finalize(statement);
    int result = s->failed || (commit && execute(s, "COMMIT")) ? -1 : 0;
    /* Some failures have ended the transaction already. */
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->in_use = 0;
    return result;
}

int rv_store_create(struct rv_store *s, const char *model, int dimension)
{
    sqlite3_stmt *statement =
        rv_store_prepare(s, "INSERT INTO collections(role, model, dimension, distance) VALUES(?1, ?2, ?3, 'cosine')");
    if (!statement)
        return -1;
    sqlite3_bind_text(statement, 1, s->role, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, model, -1, SQLITE_STATIC);
    sqlite3_bind_int(statement, 3, dimension);
    if (rv_store_step(s, statement) < 0)
        return -1;
    s->number = sqlite3_last_insert_rowid(s->db);
    s->dimension = dimension;
    /* The vector comes last: what is only looked up does not read it. */
    return run(s, "CREATE TABLE vectors_%lld(id TEXT NOT NULL UNIQUE, path TEXT, tags TEXT, mtime REAL, size INTEGER,"
                  " norm REAL NOT NULL, vector BLOB NOT NULL)");
}

int rv_store_drop(struct rv_store *s)
{
    if (!s->number)
        return 0;
    if (run(s, "DROP TABLE vectors_%lld") || run(s, "DELETE FROM collections WHERE number = %lld"))
        return -1;
    s->number = 0;
    return 0;
}

int rv_store_swap(struct rv_store *s)
{
    if (look_up(s, "next"))
        return -1;
    if (!s->number)
        return rv_store_refuse(s, "nothing to swap in: build the collection \"next\" first");
    if (look_up(s, "live"))
        return -1;
    if (s->number && (look_up(s, "previous") || rv_store_drop(s) ||
                      run(s, "UPDATE collections SET role = 'previous' WHERE role = 'live'")))
        return -1;
    return run(s, "UPDATE collections SET role = 'live' WHERE role = 'next'");
}

int rv_store_rollback(struct rv_store *s)
{
    if (look_up(s, "previous"))
        return -1;
    if (!s->number)
        return rv_store_refuse(s, "nothing to go back to: there is no collection \"previous\"");
    /* Roles are unique at every step. */
    return run(s, "UPDATE collections SET role = 'parting' WHERE role = 'live'") ||
                   run(s, "UPDATE collections SET role = 'live' WHERE role = 'previous'") ||
                   run(s, "UPDATE collections SET role = 'previous' WHERE role = 'parting'")
               ? -1
               : 0;
}

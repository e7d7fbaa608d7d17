/*
 * The file behind revec.store: one SQLite database with up to three collections of vectors, each in a table of its own,
 * and a row that says which role it has. All SQL about the file and its collections stands in file.c.
 *
 * A store is used by one thread at a time, in the process that opened it. Every call may block on the disk, and up to
 * the store's timeout on another process that holds the file's lock.
 */
#ifndef RV_STORE_FILE_H
#define RV_STORE_FILE_H

#include <sqlite3.h>
#include <stdint.h>
#include <sys/types.h>

enum { RV_STORE_WHY = 256, RV_STORE_MODEL = 512, RV_STORE_DIMENSION = 65536 };

struct rv_store {
    sqlite3 *db;     /* NULL when closed */
    char *path;      /* as given; malloc'ed */
    const char *role; /* which collection: "live", "next" or "previous" */
    int timeout_ms;
    pid_t pid;  /* who opened it */
    int in_use; /* a transaction is under way */
    int failed; /* it cannot be committed; why says it */
    char why[RV_STORE_WHY];
    /* The collection of the role, as of the transaction's start. */
    int64_t number; /* 0: there is none */
    int dimension;
    char model[RV_STORE_MODEL + 1];
};

struct rv_store_options {
    const char *role;
    int readonly, timeout_ms;
    int64_t max_bytes; /* 0: no limit */
};

/* Opens the file, which is made when it is not there and is not to be read only. s is all zero. 0, or -1 with one line
 * in s->why; s is to be closed either way. */
int rv_store_open(struct rv_store *s, const char *path, const struct rv_store_options *options);

/* Frees all but s itself. In another process than the one that opened it, nothing is touched. May be repeated. */
void rv_store_close(struct rv_store *s);

/* A transaction; the role's collection is looked up. 0, or -1 with s->why: then nothing has begun. */
int rv_store_begin(struct rv_store *s, int write);

/* Ends it, and every statement made in it: by a commit if commit is true and nothing failed, else without a trace.
 * 0, or -1 with s->why. */
int rv_store_end(struct rv_store *s, int commit);

/* The rest is for within a transaction. A failure marks it as failed. */

/* A statement, whose %lld is the collection's number; rv_store_end frees it. NULL on failure. */
sqlite3_stmt *rv_store_prepare(struct rv_store *s, const char *sql);
/* 1: a row, 0: done, -1: failure. */
int rv_store_step(struct rv_store *s, sqlite3_stmt *statement);
/* Marks the transaction as failed, for a reason of SQLite's or one line of our own. Gives -1. */
int rv_store_fail(struct rv_store *s, int code);
int rv_store_refuse(struct rv_store *s, const char *why);

/* 0, or -1 on failure. */
int rv_store_create(struct rv_store *s, const char *model, int dimension); /* where there is none of that role */
int rv_store_drop(struct rv_store *s);                                     /* nothing to do when there is none */
int rv_store_swap(struct rv_store *s);     /* next becomes live, live becomes previous, previous goes */
int rv_store_rollback(struct rv_store *s); /* previous becomes live, live becomes previous */

#endif

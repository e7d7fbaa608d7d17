/*
 * What a request sends: texts, vectors and files one behind another. Files are read while they are sent, so that the
 * largest costs no memory; as base64 where the service wants JSON.
 */
#ifndef RV_BODY_H
#define RV_BODY_H

#include "vector.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum rv_part_type { RV_PART_TEXT, RV_PART_VECTOR, RV_PART_FILE, RV_PART_BASE64 };

struct rv_part {
    enum rv_part_type type;
    char *text;     /* the text, or the file's path; owned */
    size_t len;     /* of the text */
    struct rv_vector *vector;
    uint64_t size;  /* of a file, in bytes, when the body was opened */
};

struct rv_body {
    int count;
    struct rv_part *parts;
};

void rv_body_free(struct rv_body *b);

/* Reads a body from its beginning. */
struct rv_reader {
    struct rv_body *body;
    int part;
    uint64_t at;          /* bytes of the part that were read from it */
    int fd;               /* of the part's file, -1: not open */
    struct timespec written; /* when the file was last, as of its opening */
    char error[256];      /* why it cannot be read: "path: reason" */
};

/* Looks at every file; how many bytes there are, or -1 with an error. May wait for the disk. */
int64_t rv_reader_open(struct rv_reader *r, struct rv_body *body);

/* At most room (at least 4) bytes into out; 0 at the end, -1 with an error. May wait for the disk. */
long rv_reader_read(struct rv_reader *r, char *out, size_t room);

/* From the beginning again. */
void rv_reader_rewind(struct rv_reader *r);
void rv_reader_close(struct rv_reader *r);

#endif

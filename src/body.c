/* See body.h. */
#define _GNU_SOURCE
#include "body.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void rv_body_free(struct rv_body *b)
{
    for (int i = 0; i < b->count; i++) {
        free(b->parts[i].text);
        rv_vector_drop(b->parts[i].vector);
    }
    free(b->parts);
    *b = (struct rv_body){0};
}

static bool is_file(const struct rv_part *p)
{
    return p->type == RV_PART_FILE || p->type == RV_PART_BASE64;
}

static long fail(struct rv_reader *r, const char *why)
{
    snprintf(r->error, sizeof r->error, "%s: %s", r->body->parts[r->part].text, why);
    return -1;
}

int64_t rv_reader_open(struct rv_reader *r, struct rv_body *body)
{
    uint64_t total = 0;
    *r = (struct rv_reader){.body = body, .fd = -1};
    for (; r->part < body->count; r->part++) {
        struct rv_part *p = &body->parts[r->part];
        struct stat st;
        if (is_file(p)) {
            if (stat(p->text, &st))
                return fail(r, strerror(errno));
            if (!S_ISREG(st.st_mode))
                return fail(r, "not a file");
            if (!st.st_size)
                return fail(r, "empty");
            p->size = (uint64_t)st.st_size;
        }
        total += p->type == RV_PART_TEXT ? p->len : p->type == RV_PART_VECTOR ? p->vector->len
               : p->type == RV_PART_FILE ? p->size : (p->size + 2) / 3 * 4;
    }
    r->part = 0;
    return (int64_t)total;
}

void rv_reader_close(struct rv_reader *r)
{
    if (r->body && r->fd >= 0)
        close(r->fd);
    *r = (struct rv_reader){.fd = -1};
}

void rv_reader_rewind(struct rv_reader *r)
{
    struct rv_body *body = r->body;
    rv_reader_close(r);
    r->body = body;
}

static void next_part(struct rv_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->at = 0;
    r->part++;
}

static bool changed(struct rv_reader *r)
{
    fail(r, "changed while it was sent");
    return false;
}

/* Exactly len bytes of the part's file. Its last are not given unless it is as it was: so what is sent is whole. */
static bool read_file(struct rv_reader *r, const struct rv_part *p, char *out, size_t len)
{
    struct stat st;
    if (r->fd < 0) {
        r->fd = open(p->text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (r->fd < 0) {
            fail(r, strerror(errno));
            return false;
        }
        if (fstat(r->fd, &st) || (uint64_t)st.st_size != p->size)
            return changed(r);
        r->written = st.st_mtim;
    }
    while (len) {
        ssize_t n = read(r->fd, out, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fail(r, strerror(errno));
            return false;
        }
        if (!n)
            return changed(r);
        out += n;
        len -= (size_t)n;
        r->at += (uint64_t)n;
    }
    if (r->at < p->size)
        return true;
    bool same = !fstat(r->fd, &st) && (uint64_t)st.st_size == p->size && st.st_mtim.tv_sec == r->written.tv_sec
        && st.st_mtim.tv_nsec == r->written.tv_nsec;
    return same || changed(r);
}

/* A file's next bytes as base64: whole groups of three, fewer only at its end. */
static long read_base64(struct rv_reader *r, const struct rv_part *p, char *out, size_t room)
{
    char raw[3 * 4096];
    uint64_t left = p->size - r->at;
    size_t take = room / 4 * 3 < sizeof raw ? room / 4 * 3 : sizeof raw;
    if (take > left)
        take = (size_t)left;
    return read_file(r, p, raw, take) ? (long)rv_base64(raw, take, out) : -1;
}

long rv_reader_read(struct rv_reader *r, char *out, size_t room)
{
    size_t filled = 0;
    while (room - filled >= 4 && r->part < r->body->count) {
        const struct rv_part *p = &r->body->parts[r->part];
        const char *bytes = p->type == RV_PART_VECTOR ? p->vector->json : p->text;
        uint64_t size = is_file(p) ? p->size : p->type == RV_PART_VECTOR ? p->vector->len : p->len;
        size_t take = size - r->at < room - filled ? (size_t)(size - r->at) : room - filled;
        if (!take) {
            next_part(r);
            continue;
        }
        if (p->type == RV_PART_BASE64) {
            long n = read_base64(r, p, out + filled, room - filled);
            if (n < 0)
                return -1;
            filled += (size_t)n;
            continue;
        }
        if (p->type == RV_PART_FILE) {
            if (!read_file(r, p, out + filled, take))
                return -1;
        } else {
            memcpy(out + filled, bytes + r->at, take);
            r->at += take;
        }
        filled += take;
    }
    return (long)filled;
}

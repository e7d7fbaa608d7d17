/*
 * The peer of a direct rebuild: sends each file, takes the vector out of the answer, and sends the vectors on in batches, by a bare
 * libcurl multi loop. One thread, kept connections, easy handles used again; files are read while they are sent.
 *
 *   bare_direct URL CONCURRENT BATCH FILES     URL: nginx of direct.conf.in; FILES: a file with one path a line
 */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct text {
    char *bytes;
    size_t len, room;
};

struct slot {
    CURL *easy;
    FILE *file;
    struct text answer;
};

static void append(struct text *t, const char *bytes, size_t len)
{
    if (t->len + len > t->room) {
        t->room = (t->len + len) * 2;
        t->bytes = realloc(t->bytes, t->room);
        if (!t->bytes)
            abort();
    }
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    append(arg, bytes, size * n);
    return size * n;
}

static size_t throw_away(char *bytes, size_t size, size_t n, void *arg)
{
    (void)bytes, (void)arg;
    return size * n;
}

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
    return fread(to, size, n, arg);
}

static CURL *new_easy(struct curl_slist *headers)
{
    CURL *e = curl_easy_init();
    if (!e)
        abort();
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    return e;
}

/* Gives the slot the next file; 0 when there is none left. */
static int start(CURLM *multi, struct slot *s, FILE *paths)
{
    char path[4096];
    struct stat st;
    if (!fgets(path, sizeof path, paths))
        return 0;
    path[strcspn(path, "\n")] = 0;
    s->file = fopen(path, "rb");
    if (!s->file || fstat(fileno(s->file), &st))
        abort();
    s->answer.len = 0;
    curl_easy_setopt(s->easy, CURLOPT_READDATA, s->file);
    curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)st.st_size);
    return curl_multi_add_handle(multi, s->easy) == CURLM_OK;
}

/* The vector, as it stands in the answer, goes into the batch. */
static int take(struct text *batch, int *in_batch, const struct text *answer)
{
    const char *from = memchr(answer->bytes, '[', answer->len);
    const char *to = from ? memchr(from, ']', answer->len - (size_t)(from - answer->bytes)) : NULL;
    char head[96];
    if (!to)
        return 0;
    int n = snprintf(head, sizeof head, "%s{\"id\":%d,\"vector\":", *in_batch ? "," : "{\"points\":[", *in_batch);
    append(batch, head, (size_t)n);
    append(batch, from, (size_t)(to + 1 - from));
    append(batch, "}", 1);
    ++*in_batch;
    return 1;
}

static int send_batch(CURL *put, struct text *batch, int *in_batch)
{
    long status = 0;
    append(batch, "]}", 2);
    curl_easy_setopt(put, CURLOPT_POSTFIELDS, batch->bytes);
    curl_easy_setopt(put, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)batch->len);
    int ok = curl_easy_perform(put) == CURLE_OK && curl_easy_getinfo(put, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200;
    batch->len = 0;
    *in_batch = 0;
    return ok;
}

int main(int argc, char **argv)
{
    int concurrent = argc > 4 ? atoi(argv[2]) : 0, most = argc > 4 ? atoi(argv[3]) : 0;
    FILE *paths = argc > 4 ? fopen(argv[4], "r") : NULL;
    if (!paths || concurrent < 1 || most < 1) {
        fprintf(stderr, "usage: bare_direct URL CONCURRENT BATCH FILES\n");
        return 2;
    }
    char embed[512], points[512];
    snprintf(embed, sizeof embed, "%s/embed", argv[1]);
    snprintf(points, sizeof points, "%s/collections/images/points", argv[1]);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURLM *multi = curl_multi_init();
    struct curl_slist *bytes = curl_slist_append(NULL, "Content-Type: application/octet-stream");
    bytes = curl_slist_append(bytes, "Expect:");
    struct curl_slist *json = curl_slist_append(NULL, "Content-Type: application/json");
    json = curl_slist_append(json, "Expect:");
    CURL *put = new_easy(json);
    curl_easy_setopt(put, CURLOPT_URL, points);
    curl_easy_setopt(put, CURLOPT_CUSTOMREQUEST, "PUT");
    curl_easy_setopt(put, CURLOPT_WRITEFUNCTION, throw_away);
    struct slot *slots = calloc((size_t)concurrent, sizeof *slots);
    struct text batch = {0};
    int in_batch = 0;
    long sent = 0, ok = 0;
    for (int i = 0; i < concurrent; i++) {
        struct slot *s = &slots[i];
        s->easy = new_easy(bytes);
        curl_easy_setopt(s->easy, CURLOPT_URL, embed);
        curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, &s->answer);
        curl_easy_setopt(s->easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(s->easy, CURLOPT_UPLOAD_BUFFERSIZE, 65536L);
        curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
        sent += start(multi, s, paths);
    }
    for (int running = 1; running;) {
        curl_multi_perform(multi, &running);
        int left;
        for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));) {
            struct slot *s;
            CURL *e = m->easy_handle;
            CURLcode result = m->data.result;
            curl_easy_getinfo(e, CURLINFO_PRIVATE, &s);
            curl_multi_remove_handle(multi, e);
            fclose(s->file);
            ok += result == CURLE_OK && take(&batch, &in_batch, &s->answer);
            if (in_batch == most && !send_batch(put, &batch, &in_batch))
                return 1;
            if (start(multi, s, paths))
                sent++, running++;
        }
        if (running)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    if (in_batch && !send_batch(put, &batch, &in_batch))
        return 1;
    printf("sent %ld ok %ld\n", sent, ok);
    for (int i = 0; i < concurrent; i++) {
        curl_easy_cleanup(slots[i].easy);
        free(slots[i].answer.bytes);
    }
    free(slots);
    free(batch.bytes);
    curl_easy_cleanup(put);
    curl_multi_cleanup(multi);
    curl_slist_free_all(bytes);
    curl_slist_free_all(json);
    fclose(paths);
    return ok == sent ? 0 : 1;
}

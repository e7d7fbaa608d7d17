/*
 * The peer that revec is measured against: as many embed requests as there are ids, by a bare libcurl multi loop.
 * One thread, kept connections, easy handles used again, answers counted and thrown away.
 *
 *   bare URL CONCURRENT IDS [BUFFER]     URL: the backend's; IDS: a file with one unreserved id (a UUID) a line;
 *                                        BUFFER: bytes of CURLOPT_BUFFERSIZE (libcurl's default is 16384)
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static long long received;

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    (void)bytes, (void)arg;
    received += (long long)(size * n);
    return size * n;
}

static CURL *new_easy(struct curl_slist *headers, long buffer)
{
    CURL *e = curl_easy_init();
    if (!e)
        return NULL;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, 0L);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_TIMEOUT, 60L);
    if (buffer)
        curl_easy_setopt(e, CURLOPT_BUFFERSIZE, buffer);
    return e;
}

/* Gives the handle the next id; 0 when there is none left. */
static int start(CURLM *multi, CURL *e, const char *base, FILE *ids)
{
    char id[256], url[1024];
    if (!fgets(id, sizeof id, ids))
        return 0;
    id[strcspn(id, "\n")] = 0;
    snprintf(url, sizeof url, "%s/api/v1/embedding/image?image_id=%s&normalize=true&auto_index=true", base, id);
    curl_easy_setopt(e, CURLOPT_URL, url);
    return curl_multi_add_handle(multi, e) == CURLM_OK;
}

int main(int argc, char **argv)
{
    int concurrent = argc > 3 ? atoi(argv[2]) : 0;
    FILE *ids = argc > 3 ? fopen(argv[3], "r") : NULL;
    if (!ids || concurrent < 1) {
        fprintf(stderr, "usage: bare URL CONCURRENT IDS [BUFFER]\n");
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURLM *multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)concurrent);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL **handles = calloc((size_t)concurrent, sizeof *handles);
    long sent = 0, ok = 0;
    for (int i = 0; i < concurrent; i++) {
        handles[i] = new_easy(headers, argc > 4 ? atol(argv[4]) : 0);
        sent += start(multi, handles[i], argv[1], ids);
    }
    for (int running = 1; running;) {
        curl_multi_perform(multi, &running);
        int left;
        for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));) {
            CURL *e = m->easy_handle;
            CURLcode result = m->data.result;
            long status = 0;
            curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
            ok += result == CURLE_OK && status == 200;
            curl_multi_remove_handle(multi, e);
            if (start(multi, e, argv[1], ids))
                sent++, running++;
        }
        if (running)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("sent %ld ok %ld bytes %lld cpu %.3f s\n", sent, ok, received,
           (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
    for (int i = 0; i < concurrent; i++)
        curl_easy_cleanup(handles[i]);
    free(handles);
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    fclose(ids);
    return ok == sent ? 0 : 1;
}

/*
 * See transfer.h. The options follow doc/reliability.md, "libcurl settings".
 *
 * libcurl sends a request again, whatever its method, when a kept connection dies before a byte of the answer.
 * CURLOPT_PREREQFUNCTION is called before every such send: it counts them and allows one more per attempt.
 */
#define _GNU_SOURCE
#include "transfer.h"
#include "clock.h"
#include "headers.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MAX_SENDS_PER_ATTEMPT = 2,
    MAX_HEADER_BYTES = 64 * 1024,
    MAX_HEAD = 8192,      /* of a failure's body, kept to say why */
    MAX_LOCATION = 1024,  /* of where a redirect leads */
    MAX_GOOD_HEAD = 1024, /* of a good answer's, which may yet turn out to tell of a failure */
    /* uvicorn closes idle connections after 5 s; one that is older is not worth the risk of a re-send. libcurl counts
     * whole seconds: this is up to 4 of them. */
    MAX_IDLE_S = 3,
    MAX_LIFETIME_S = 300,
    /* Four times libcurl's: a vector of 50 KB comes with one call, for a quarter less CPU (bench/cpu, bare-64k). */
    RECEIVE_BUFFER = 64 * 1024,
    KEPT_WHOLE = 256 * 1024,
};

struct rv_transfer {
    const struct rv_settings *settings;
    bool *connected;
    CURL *easy;
    const struct rv_route *route; /* what the handle is set up for */
    struct curl_slist *headers;
    struct rv_request *request;
    struct rv_skim skim;
    struct rv_reader reader;
    bool sends_body;       /* the handle is set up for one */
    char *whole;           /* the answer's body, where the route wants it; body_bytes of it */
    size_t whole_room;
    int status;
    int sends;
    size_t header_bytes, body_bytes, head_len;
    struct rv_headers headers_read;
    bool capped;
    char error[CURL_ERROR_SIZE];
    char head[MAX_HEAD];
};

static bool keeps_whole(const struct rv_transfer *t)
{
    return (t->route->whole || t->route->vectors) && !t->request->asking && rv_is_accepted(&t->route->rules, t->status);
}

static bool keep_whole(struct rv_transfer *t, const char *bytes, size_t len)
{
    if (t->whole_room - t->body_bytes < len) {
        size_t room = 2 * t->whole_room + len;
        char *whole = realloc(t->whole, room);
        if (!whole) {
            t->skim.out_of_memory = true;
            return false;
        }
        t->whole = whole;
        t->whole_room = room;
    }
    memcpy(t->whole + t->body_bytes, bytes, len);
    return true;
}

/* A usual answer's room is kept for the next: made and freed each time, it scatters the vectors that stay. */
static void forget_whole(struct rv_transfer *t)
{
    if (t->whole && t->whole_room <= KEPT_WHOLE)
        return;
    free(t->whole);
    t->whole = NULL;
    t->whole_room = 0;
}

static size_t on_read(char *out, size_t size, size_t n, void *arg)
{
    struct rv_transfer *t = arg;
    long len = rv_reader_read(&t->reader, out, size * n);
    return len < 0 ? CURL_READFUNC_ABORT : (size_t)len;
}

/* For libcurl's own re-send: the body again from its beginning. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct rv_transfer *t = arg;
    if (offset || origin != SEEK_SET)
        return CURL_SEEKFUNC_FAIL;
    rv_reader_rewind(&t->reader);
    return CURL_SEEKFUNC_OK;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct rv_transfer *t = arg;
    size_t len = size * n;
    if (len > t->route->max_bytes - t->body_bytes) {
        t->capped = true;
        return 0;
    }
    if (!t->body_bytes)
        t->skim.to_the_end = !t->headers_read.framed;
    if (keeps_whole(t) && !keep_whole(t, bytes, len))
        return 0;
    t->body_bytes += len;
    size_t most = rv_is_accepted(&t->route->rules, t->status) ? MAX_GOOD_HEAD : MAX_HEAD;
    if (t->head_len < most) {
        size_t take = len < most - t->head_len ? len : most - t->head_len;
        memcpy(t->head + t->head_len, bytes, take);
        t->head_len += take;
    }
    if (t->route->rules.wants_json)
        rv_skim_feed(&t->skim, bytes, len);
    return len;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct rv_transfer *t = arg;
    size_t len = size * n;
    t->header_bytes += len;
    if (t->header_bytes > MAX_HEADER_BYTES) {
        t->capped = true;
        return 0;
    }
    if (len > 5 && !memcmp(line, "HTTP/", 5)) {
        long status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        t->status = (int)status;
        rv_headers_begin(&t->headers_read);
        return len;
    }
    rv_headers_line(&t->headers_read, line, len);
    return len;
}

static int on_send(void *arg, char *ip, char *local_ip, int port, int local_port)
{
    struct rv_transfer *t = arg;
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    if (t->sends == MAX_SENDS_PER_ATTEMPT)
        return CURL_PREREQFUNC_ABORT;
    *t->connected = true;
    t->sends++;
    t->request->sends++;
    return CURL_PREREQFUNC_OK;
}

/* Sets one option of the user's; false, with its name in *error, when this libcurl refuses it. */
static bool set(CURL *easy, CURLoption option, const char *value, const char *name, const char **error)
{
    CURLcode code = value ? curl_easy_setopt(easy, option, value) : CURLE_OK;
    if (code != CURLE_OK)
        *error = code == CURLE_OUT_OF_MEMORY ? "out of memory" : name;
    return code == CURLE_OK;
}

static bool set_up(struct rv_transfer *t, const char **error)
{
    const struct rv_settings *s = t->settings;
    CURL *e = t->easy;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)(s->http2 ? CURL_HTTP_VERSION_2_0 : CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, (long)s->http2);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)MAX_IDLE_S);
    curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN, (long)MAX_LIFETIME_S);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(s->timeout * 1000));
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(s->connect_timeout * 1000));
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, s->insecure ? 0L : 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, s->insecure ? 0L : 2L);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_send);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(e, CURLOPT_READDATA, t);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
    t->route = NULL;
    return set(e, CURLOPT_USERAGENT, s->user_agent, "user_agent", error) && set(e, CURLOPT_CAINFO, s->cacert, "cacert", error)
        && set(e, CURLOPT_SSLCERT, s->cert, "cert", error) && set(e, CURLOPT_SSLKEY, s->key, "key", error)
        && set(e, CURLOPT_PROXY, s->proxy, "proxy", error)
        && set(e, CURLOPT_UNIX_SOCKET_PATH, s->unix_socket, "unix_socket", error);
}

struct rv_transfer *rv_transfer_new(const struct rv_settings *settings, bool *connected, const char **error)
{
    struct rv_transfer *t = calloc(1, sizeof *t);
    *error = "out of memory";
    if (t && (t->easy = curl_easy_init())) {
        t->settings = settings;
        t->connected = connected;
        if (set_up(t, error))
            return t;
    }
    rv_transfer_free(t);
    return NULL;
}

void rv_transfer_free(struct rv_transfer *t)
{
    if (!t)
        return;
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    rv_skim_free(&t->skim);
    rv_reader_close(&t->reader);
    free(t->whole);
    free(t);
}

static bool add_headers(struct curl_slist **list, char *const *headers)
{
    for (; headers && *headers; headers++) {
        struct curl_slist *longer = curl_slist_append(*list, *headers);
        if (!longer)
            return false;
        *list = longer;
    }
    return true;
}

static void set_body(struct rv_transfer *t, int64_t size, bool sends)
{
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, sends ? NULL : "");
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
    t->sends_body = sends;
}

static bool set_route(struct rv_transfer *t, const struct rv_route *route)
{
    struct curl_slist *headers = NULL;
    /* Without an Expect header libcurl would wait up to a second for a 100 before sending a large body. */
    char *const ours[] = {(char *)"Expect:", NULL};
    if (!add_headers(&headers, ours) || !add_headers(&headers, t->settings->headers) || !add_headers(&headers, route->headers)) {
        curl_slist_free_all(headers);
        return false;
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, headers);
    curl_slist_free_all(t->headers);
    t->headers = headers;
    bool get = !strcmp(route->method, "GET");
    set_body(t, 0, false); /* makes it a POST, so it comes before the method */
    curl_easy_setopt(t->easy, get ? CURLOPT_HTTPGET : CURLOPT_POST, 1L);
    bool custom = !get && strcmp(route->method, "POST");
    if (curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, custom ? route->method : NULL))
        return false;
    t->route = route;
    return true;
}

enum rv_begun rv_transfer_begin(struct rv_transfer *t, struct rv_request *request)
{
    int64_t size = 0;
    bool sends = request->content.count && !request->asking;
    if (sends && (size = rv_reader_open(&t->reader, &request->content)) < 0) {
        rv_request_forget(request);
        request->kind = RV_UNREADABLE_FILE;
        request->status = 0;
        request->message = strdup(t->reader.error);
        rv_reader_close(&t->reader);
        return RV_FILE_UNREADABLE;
    }
    /* Before 8.17 libcurl counts re-sends over the handle's life and gives up falsely at the fifth. */
    if (t->sends > 1) {
        const char *error;
        curl_easy_reset(t->easy);
        if (!set_up(t, &error))
            return RV_NOT_BEGUN;
    }
    t->request = request;
    t->status = t->sends = 0;
    t->header_bytes = t->body_bytes = t->head_len = 0;
    t->error[0] = 0;
    rv_headers_begin(&t->headers_read);
    t->capped = false;
    const struct rv_route *route = request->asking ? request->ask_route : request->route;
    if (t->route != route && !set_route(t, route))
        return RV_NOT_BEGUN;
    if (sends || t->sends_body)
        set_body(t, size, sends);
    struct rv_skim_wish wish = {(const char *const *)t->route->fields, t->route->field_count, t->route->list, t->route->list_field};
    rv_skim_begin(&t->skim, &wish);
    const char *url = request->asking ? request->ask_url : request->url;
    return curl_easy_setopt(t->easy, CURLOPT_URL, url) == CURLE_OK ? RV_BEGUN : RV_NOT_BEGUN;
}

CURL *rv_transfer_easy(struct rv_transfer *t)
{
    return t->easy;
}

struct rv_request *rv_transfer_request(struct rv_transfer *t)
{
    return t->request;
}

int rv_transfer_sends(const struct rv_transfer *t)
{
    return t->sends;
}

static enum rv_transport transport(const struct rv_transfer *t, CURLcode code)
{
    if (t->capped)
        return RV_TRANSPORT_CAPPED;
    switch (code) {
    case CURLE_OK:
        return t->headers_read.ended ? RV_TRANSPORT_OK : RV_TRANSPORT_CUT;
    case CURLE_PEER_FAILED_VERIFICATION: case CURLE_SSL_CERTPROBLEM: case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE: case CURLE_SSL_CRL_BADFILE: case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH: case CURLE_SSL_INVALIDCERTSTATUS: case CURLE_SSL_CLIENTCERT:
        return RV_TRANSPORT_TLS;
    case CURLE_SEND_ERROR: case CURLE_RECV_ERROR:
        /* In TLS 1.3 a server judges our certificate when our handshake is over and the request under way. */
        if (t->sends && !t->status && strstr(t->error, " alert "))
            return RV_TRANSPORT_TLS;
        break;
    case CURLE_WEIRD_SERVER_REPLY: case CURLE_UNSUPPORTED_PROTOCOL: case CURLE_BAD_CONTENT_ENCODING:
        return RV_TRANSPORT_GARBAGE;
    case CURLE_OUT_OF_MEMORY: /* libcurl says so of a header line of over 100 KB, too */
        if (t->sends && !t->headers_read.ended)
            return RV_TRANSPORT_CAPPED;
        break;
    case CURLE_OPERATION_TIMEDOUT:
        return t->sends ? RV_TRANSPORT_TIMEOUT : RV_TRANSPORT_CONNECT;
    default:
        break;
    }
    return t->sends ? RV_TRANSPORT_CUT : RV_TRANSPORT_CONNECT;
}

/* Moves what was wanted from the skimmer to the request: text for strings, raw JSON for the rest. */
static bool keep_values(struct rv_transfer *t)
{
    int n = t->route->field_count;
    struct rv_request *r = t->request;
    if (r->asking)
        return true;
    r->list = t->skim.list;
    t->skim.list = (struct rv_skim_list){0};
    if (!n)
        return true;
    r->values = calloc((size_t)n, sizeof *r->values + sizeof *r->value_lens);
    if (!r->values)
        return false;
    r->value_lens = (size_t *)(void *)(r->values + n);
    for (int i = 0; i < n; i++) {
        struct rv_skim_value *v = &t->skim.values[i];
        if (!v->text || v->truncated)
            continue;
        long len = rv_json_unquote(v->text, v->len);
        r->values[i] = v->text;
        r->value_lens[i] = len >= 0 ? (size_t)len : v->len;
        v->text = NULL;
    }
    return true;
}

/* Keeps a good answer's vectors and body as the route wants them; NULL, or why the answer is bad after all. */
static const char *keep_answer(struct rv_transfer *t)
{
    struct rv_request *r = t->request;
    const char *why = NULL;
    if (t->route->vectors && t->status < 300)
        why = rv_vectors_find(&r->vectors, t->whole, t->body_bytes, t->route->vectors, t->route->vector_index);
    if (why) {
        r->kind = RV_BAD_ANSWER;
    } else if (t->route->whole) {
        r->body = t->whole;
        r->body_len = t->body_bytes;
        t->whole = NULL;
    }
    return why;
}

void rv_transfer_end(struct rv_transfer *t, CURLcode code, double *retry_after)
{
    struct rv_request *r = t->request;
    struct rv_skim *s = &t->skim;
    rv_request_forget(r);
    *retry_after = rv_headers_wait(&t->headers_read, (int64_t)time(NULL));
    struct rv_answer answer = {
        .transport = transport(t, code),
        .status = t->status,
        .has_retry_after = *retry_after >= 0,
        .json_complete = rv_skim_complete(s),
        /* A 200 without a length may have been cut before its first byte. */
        .json_object = s->state != RV_SKIM_BROKEN && (s->state != RV_SKIM_START || (!t->headers_read.framed && t->status == 200)),
        .list_missing = t->route->list && !s->list_seen,
        .said = t->route->field_count ? s->values[0].text : NULL,
        .body = t->head,
        .body_len = t->head_len,
    };
    r->status = t->status;
    r->seconds = rv_now() - r->sent_at;
    r->kind = rv_classify(&t->route->rules, &answer);
    /* A proxy's refusal comes before there is a request, and so not as an answer to one. */
    long proxy_status = 0;
    if (!t->sends && !curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status) && proxy_status == 407) {
        r->status = 407;
        r->kind = RV_DENIED;
    }
    const char *why = NULL;
    if (s->out_of_memory || !keep_values(t))
        r->kind = RV_CUT_SHORT, why = "out of memory";
    else if (t->reader.error[0])
        r->kind = RV_UNREADABLE_FILE, why = t->reader.error;
    else if (r->kind == RV_OK && keeps_whole(t))
        why = keep_answer(t);
    else if (r->kind != RV_OK && code != CURLE_OK && r->kind != RV_TOO_LARGE)
        /* libcurl quotes a proxy that it cannot use, password and all. */
        why = t->error[0] && strncmp(t->error, "Unsupported proxy", 17) ? t->error : curl_easy_strerror(code);
    if (why)
        r->message = strdup(why);
    rv_reader_close(&t->reader);
    forget_whole(t);
    if (r->kind == RV_OK)
        return;
    char *location = NULL;
    if (code == CURLE_OK && !curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &location) && location)
        r->location = strndup(location, MAX_LOCATION);
    if (t->head_len && (r->body = malloc(t->head_len))) {
        memcpy(r->body, t->head, t->head_len);
        r->body_len = t->head_len;
    }
}

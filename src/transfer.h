/* One request on its way: a curl easy handle that is used again and again, and what its answer left behind. */
#ifndef RV_TRANSFER_H
#define RV_TRANSFER_H

#include "io.h"

#include <curl/curl.h>

struct rv_transfer;

/* NULL when out of memory or when libcurl refuses an option of the settings (*error says which). settings and
 * connected are borrowed; *connected becomes true with the first send, which takes a connection. */
struct rv_transfer *rv_transfer_new(const struct rv_settings *settings, bool *connected, const char **error);
void rv_transfer_free(struct rv_transfer *t);

enum rv_begun { RV_BEGUN, RV_NOT_BEGUN, RV_FILE_UNREADABLE };

/* Prepares the next attempt of the request (borrowed until rv_transfer_end). RV_NOT_BEGUN when out of memory;
 * RV_FILE_UNREADABLE with the request's kind and message set. May wait for the disk. */
enum rv_begun rv_transfer_begin(struct rv_transfer *t, struct rv_request *request);

CURL *rv_transfer_easy(struct rv_transfer *t);
struct rv_request *rv_transfer_request(struct rv_transfer *t);

/* How often the request was sent in this attempt so far. */
int rv_transfer_sends(const struct rv_transfer *t);

/*
 * Judges the attempt that ended with code: sets the request's kind, status, sends, seconds, message, body and values.
 * *retry_after: seconds the server asked to wait, negative when it did not.
 */
void rv_transfer_end(struct rv_transfer *t, CURLcode code, double *retry_after);

#endif

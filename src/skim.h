/*
 * A skimmer for JSON objects: finds named top-level fields in a document that arrives in pieces and
 * stops as soon as it has them all. What lies behind (a vector, usually) is never looked at, but for
 * the document's last byte, unless asked to. One field may be a list of objects, of each of which one field is kept.
 * It allocates only what it captures and never recurses.
 */
#ifndef RV_SKIM_H
#define RV_SKIM_H

#include <stdbool.h>
#include <stddef.h>

enum { RV_SKIM_MAX_FIELDS = 8, RV_SKIM_MAX_KEY = 63, RV_SKIM_MAX_VALUE = 4096 };

enum rv_skim_state {
    RV_SKIM_START,
    RV_SKIM_KEY_OR_END,
    RV_SKIM_KEY,
    RV_SKIM_COLON,
    RV_SKIM_VALUE,
    RV_SKIM_STRING,
    RV_SKIM_NESTED,
    RV_SKIM_SCALAR,
    RV_SKIM_AFTER_VALUE,
    RV_SKIM_ELEMENT,       /* in the list, in front of an element */
    RV_SKIM_AFTER_ELEMENT,
    RV_SKIM_END,    /* the object is closed: only white space may follow */
    RV_SKIM_KNOWN,  /* every wanted field is known: the rest is passed over */
    RV_SKIM_BROKEN, /* not a JSON object */
};

struct rv_skim_value {
    char *text;     /* raw JSON, NUL-terminated; NULL when the field was not seen */
    size_t len;
    bool truncated; /* longer than RV_SKIM_MAX_VALUE: text is its beginning */
};

/* What is wanted of a document. Strings are borrowed. */
struct rv_skim_wish {
    const char *const *fields;
    int field_count;        /* 0..RV_SKIM_MAX_FIELDS */
    const char *list;       /* a field that must be an array of objects; NULL for none */
    const char *list_field; /* … each of which must have this field, a string or a scalar */
};

/* Texts one behind another, each with its length (uint32_t) in front. */
struct rv_skim_list {
    char *bytes;
    size_t len, room;
    int count;
};

struct rv_skim {
    struct rv_skim_wish wish;
    struct rv_skim_value values[RV_SKIM_MAX_FIELDS];
    struct rv_skim_list list; /* the elements' field: a string's text, other values as they are */
    struct rv_skim_value element; /* of the element being read */
    bool list_seen, in_element;
    int known;
    bool to_the_end; /* set after rv_skim_begin: nothing is passed over, as no length tells whether it was cut */
    enum rv_skim_state state;
    int field;      /* the value being read: a field's index, or negative (skim.c) */
    int depth;      /* brackets open inside a nested value */
    bool in_string; /* inside a string inside a nested value */
    bool escaped;   /* the previous byte was a backslash */
    bool first;     /* just behind an opening brace or bracket, where the closing one may follow */
    char key[RV_SKIM_MAX_KEY + 1];
    size_t key_len;
    char last;      /* once KNOWN: the last byte since that is not white space, 0 before there was one */
    bool out_of_memory;
};

/* Starts afresh; a name that stands twice in an object counts where it stands first. Frees what an earlier
 * document left. */
void rv_skim_begin(struct rv_skim *s, const struct rv_skim_wish *wish);

/* The next piece of the document, of any size. */
void rv_skim_feed(struct rv_skim *s, const char *bytes, size_t len);

/* Whether what was fed is a whole object, as far as it was looked at. */
bool rv_skim_complete(const struct rv_skim *s);

void rv_skim_free(struct rv_skim *s);

/* Turns a raw JSON string with its quotes into its text in place (escapes become UTF-8, a lone
 * surrogate U+FFFD); returns the new length, or -1 when it is not a JSON string. */
long rv_json_unquote(char *text, size_t len);

#endif

/* See skim.h. One state machine, one byte at a time, with a fast path over what nobody wants. */
#include "skim.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What is being read, when it is not the field of that index: one that nobody wants, the list, an element's. */
enum { FIELD_NONE = -1, FIELD_LIST = -2, FIELD_ELEMENT = -3 };

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void rv_skim_free(struct rv_skim *s)
{
    for (int i = 0; i < RV_SKIM_MAX_FIELDS; i++)
        free(s->values[i].text);
    free(s->element.text);
    free(s->list.bytes);
    memset(s->values, 0, sizeof s->values);
    s->element = (struct rv_skim_value){0};
    s->list = (struct rv_skim_list){0};
    s->list_seen = false;
}

void rv_skim_begin(struct rv_skim *s, const struct rv_skim_wish *wish)
{
    rv_skim_free(s);
    s->wish = *wish;
    s->known = 0;
    s->in_element = s->to_the_end = false;
    s->state = RV_SKIM_START;
    s->last = 0;
    s->out_of_memory = false;
}

static void capture(struct rv_skim *s, char c)
{
    if (s->field < 0 && s->field != FIELD_ELEMENT)
        return;
    struct rv_skim_value *v = s->field < 0 ? &s->element : &s->values[s->field];
    if (v->len == RV_SKIM_MAX_VALUE) {
        v->truncated = true;
        return;
    }
    /* Capacities are 32, 64, 128 …: a value is full when its length has reached one. */
    size_t len = v->len + 1;
    if (!v->text || (len >= 32 && (len & (len - 1)) == 0)) {
        char *text = realloc(v->text, len < 32 ? 32 : 2 * len);
        if (!text) {
            s->out_of_memory = true;
            return;
        }
        v->text = text;
    }
    v->text[v->len] = c;
    v->text[len] = 0;
    v->len = len;
}

static bool key_is(const struct rv_skim *s, const char *name)
{
    return name && strlen(name) == s->key_len && !memcmp(name, s->key, s->key_len);
}

static int find_field(const struct rv_skim *s)
{
    if (s->in_element)
        return !s->element.len && key_is(s, s->wish.list_field) ? FIELD_ELEMENT : FIELD_NONE;
    if (!s->list_seen && key_is(s, s->wish.list))
        return FIELD_LIST;
    for (int i = 0; i < s->wish.field_count; i++)
        if (!s->values[i].text && key_is(s, s->wish.fields[i]))
            return i;
    return FIELD_NONE;
}

static void value_ends(struct rv_skim *s)
{
    s->state = RV_SKIM_AFTER_VALUE;
    if (s->in_element || s->field == FIELD_NONE)
        return;
    if (++s->known == s->wish.field_count + (s->wish.list != NULL) && !s->to_the_end)
        s->state = RV_SKIM_KNOWN;
}

/* An element is whole: what is kept of it goes to the list. */
static void element_ends(struct rv_skim *s)
{
    struct rv_skim_value *v = &s->element;
    struct rv_skim_list *list = &s->list;
    s->in_element = false;
    if (!v->len || v->truncated || v->text[0] == '{' || v->text[0] == '[') {
        s->state = RV_SKIM_BROKEN;
        return;
    }
    s->state = RV_SKIM_AFTER_ELEMENT;
    long unquoted = rv_json_unquote(v->text, v->len);
    uint32_t len = (uint32_t)(unquoted < 0 ? (long)v->len : unquoted);
    if (list->room - list->len < sizeof len + len) {
        size_t room = 2 * list->room + sizeof len + len;
        char *bytes = realloc(list->bytes, room);
        if (!bytes) {
            s->out_of_memory = true;
            return;
        }
        list->bytes = bytes;
        list->room = room;
    }
    memcpy(list->bytes + list->len, &len, sizeof len);
    memcpy(list->bytes + list->len + sizeof len, v->text, len);
    list->len += sizeof len + len;
    list->count++;
}

/* The object that was being read is closed: the document, or an element of its list. */
static void object_ends(struct rv_skim *s)
{
    if (s->in_element)
        element_ends(s);
    else
        s->state = RV_SKIM_END;
}

static bool starts_scalar(char c)
{
    return c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n';
}

static void value_starts(struct rv_skim *s, char c)
{
    s->field = find_field(s);
    s->escaped = false;
    if (s->field == FIELD_LIST && c == '[') {
        s->list_seen = s->first = true;
        s->state = RV_SKIM_ELEMENT;
        return;
    }
    if (s->field == FIELD_LIST)
        s->field = FIELD_NONE; /* a refusal may have null there: the list is missing */
    if (c == '"') {
        s->state = RV_SKIM_STRING;
    } else if (c == '{' || c == '[') {
        s->state = RV_SKIM_NESTED;
        s->depth = 1;
        s->in_string = false;
    } else {
        s->state = starts_scalar(c) ? RV_SKIM_SCALAR : RV_SKIM_BROKEN;
    }
    if (s->state != RV_SKIM_BROKEN)
        capture(s, c);
}

/* The list is closed. */
static void list_ends(struct rv_skim *s)
{
    s->field = FIELD_LIST;
    value_ends(s);
}

/* Inside a string: true when c ends it. */
static bool string_ends(struct rv_skim *s, char c)
{
    if (s->escaped)
        s->escaped = false;
    else if (c == '\\')
        s->escaped = true;
    else
        return c == '"';
    return false;
}

static void nested_byte(struct rv_skim *s, char c)
{
    if (s->in_string) {
        s->in_string = !string_ends(s, c);
    } else if (c == '"') {
        s->in_string = true;
        s->escaped = false;
    } else if (c == '{' || c == '[') {
        s->depth++;
    } else if ((c == '}' || c == ']') && --s->depth == 0) {
        value_ends(s);
    }
}

static void step(struct rv_skim *s, char c)
{
    switch (s->state) {
    case RV_SKIM_START:
        if (c == '{') {
            s->state = s->wish.field_count || s->wish.list || s->to_the_end ? RV_SKIM_KEY_OR_END : RV_SKIM_KNOWN;
            s->first = true;
        } else if (!is_space(c)) {
            s->state = RV_SKIM_BROKEN;
        }
        break;
    case RV_SKIM_KEY_OR_END:
        if (c == '"') {
            s->state = RV_SKIM_KEY;
            s->key_len = 0;
            s->escaped = false;
        } else if (c == '}' && s->first) {
            object_ends(s);
        } else if (!is_space(c)) {
            s->state = RV_SKIM_BROKEN;
        }
        break;
    case RV_SKIM_KEY:
        if (string_ends(s, c)) {
            s->state = RV_SKIM_COLON;
        } else if (s->key_len <= RV_SKIM_MAX_KEY) {
            /* One past the limit marks a key that is too long to be wanted. */
            if (s->key_len < RV_SKIM_MAX_KEY)
                s->key[s->key_len] = c;
            s->key_len++;
        }
        break;
    case RV_SKIM_COLON:
        if (c == ':')
            s->state = RV_SKIM_VALUE;
        else if (!is_space(c))
            s->state = RV_SKIM_BROKEN;
        break;
    case RV_SKIM_VALUE:
        if (!is_space(c))
            value_starts(s, c);
        break;
    case RV_SKIM_STRING:
        capture(s, c);
        if (string_ends(s, c))
            value_ends(s);
        break;
    case RV_SKIM_NESTED:
        capture(s, c);
        nested_byte(s, c);
        break;
    case RV_SKIM_SCALAR:
        if (c != ',' && c != '}' && !is_space(c)) {
            capture(s, c);
            break;
        }
        value_ends(s);
        if (s->state == RV_SKIM_KNOWN) {
            s->last = is_space(c) ? 0 : c;
            break;
        }
        /* The byte that ended the scalar is the next state's first. */
        __attribute__((fallthrough));
    case RV_SKIM_AFTER_VALUE:
        if (c == ',') {
            s->state = RV_SKIM_KEY_OR_END;
            s->first = false;
        } else if (c == '}') {
            object_ends(s);
        } else if (!is_space(c)) {
            s->state = RV_SKIM_BROKEN;
        }
        break;
    case RV_SKIM_ELEMENT:
        if (c == '{') {
            s->in_element = s->first = true;
            s->element.len = 0;
            s->element.truncated = false;
            s->state = RV_SKIM_KEY_OR_END;
        } else if (c == ']' && s->first) {
            list_ends(s);
        } else if (!is_space(c)) {
            s->state = RV_SKIM_BROKEN;
        }
        break;
    case RV_SKIM_AFTER_ELEMENT:
        if (c == ',') {
            s->state = RV_SKIM_ELEMENT;
            s->first = false;
        } else if (c == ']') {
            list_ends(s);
        } else if (!is_space(c)) {
            s->state = RV_SKIM_BROKEN;
        }
        break;
    case RV_SKIM_END:
        if (!is_space(c))
            s->state = RV_SKIM_BROKEN;
        break;
    case RV_SKIM_KNOWN:
    case RV_SKIM_BROKEN:
        break;
    }
}

enum { IN_STRING = 1, IN_NESTED = 2 };

/* Where a byte matters in a value that nobody wants, such as a vector or its metadata. */
static const unsigned char matters[256] = {
    ['"'] = IN_STRING | IN_NESTED, ['\\'] = IN_STRING, ['['] = IN_NESTED, [']'] = IN_NESTED, ['{'] = IN_NESTED, ['}'] = IN_NESTED,
};

/* How many of the bytes that follow in a value that nobody wants change nothing. */
static size_t dull(const struct rv_skim *s, const char *bytes, size_t len)
{
    if (s->state != RV_SKIM_NESTED && s->state != RV_SKIM_STRING)
        return 0;
    unsigned char where = s->state == RV_SKIM_STRING || s->in_string ? IN_STRING : IN_NESTED;
    size_t n = 0;
    while (n < len && !(matters[(unsigned char)bytes[n]] & where))
        n++;
    return n;
}

void rv_skim_feed(struct rv_skim *s, const char *bytes, size_t len)
{
    size_t i = 0;
    while (i < len && s->state < RV_SKIM_KNOWN) {
        if (s->field == FIELD_NONE && !s->escaped)
            i += dull(s, bytes + i, len - i);
        if (i < len)
            step(s, bytes[i++]);
    }
    if (s->state != RV_SKIM_KNOWN)
        return;
    while (len > i && is_space(bytes[len - 1]))
        len--;
    if (len > i)
        s->last = bytes[len - 1];
}

bool rv_skim_complete(const struct rv_skim *s)
{
    return s->state == RV_SKIM_END || (s->state == RV_SKIM_KNOWN && s->last == '}');
}

static int hex4(const char *p)
{
    int n = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        n = n * 16 + digit;
    }
    return n;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    int extra = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    *out++ = (char)(lead[extra] | c >> 6 * extra);
    while (extra-- > 0)
        *out++ = (char)(0x80 | (c >> 6 * extra & 0x3F));
    return out;
}

long rv_json_unquote(char *text, size_t len)
{
    if (len < 2 || text[0] != '"' || text[len - 1] != '"')
        return -1;
    const char *in = text + 1, *end = text + len - 1;
    char *out = text;
    while (in < end) {
        if (*in != '\\') {
            *out++ = *in++;
            continue;
        }
        if (++in == end)
            return -1;
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *simple = strchr(from, *in);
        if (simple && *in) {
            *out++ = to[simple - from];
            in++;
            continue;
        }
        int unit = *in == 'u' && end - in >= 5 ? hex4(in + 1) : -1;
        if (unit < 0)
            return -1;
        in += 5;
        uint32_t c = (uint32_t)unit;
        if (c >= 0xD800 && c <= 0xDFFF) {
            int low = c < 0xDC00 && end - in >= 6 && in[0] == '\\' && in[1] == 'u' ? hex4(in + 2) : -1;
            if (low >= 0xDC00 && low <= 0xDFFF) {
                c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
                in += 6;
            } else {
                c = 0xFFFD;
            }
        }
        out = put_utf8(out, c);
    }
    *out = 0;
    return (long)(out - text);
}

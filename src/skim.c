/* See skim.h. One state machine, one byte at a time, with a fast path over what nobody wants. */
#include "skim.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void rv_skim_free(struct rv_skim *s)
{
    for (int i = 0; i < RV_SKIM_MAX_FIELDS; i++)
        free(s->values[i].text);
    memset(s->values, 0, sizeof s->values);
}

void rv_skim_begin(struct rv_skim *s, const char *const *wanted, int count)
{
    rv_skim_free(s);
    s->wanted = wanted;
    s->wanted_count = count;
    s->known = 0;
    s->state = RV_SKIM_START;
    s->last = 0;
    s->out_of_memory = false;
}

static void capture(struct rv_skim *s, char c)
{
    if (s->field < 0)
        return;
    struct rv_skim_value *v = &s->values[s->field];
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

static int find_field(const struct rv_skim *s)
{
    if (s->key_len > RV_SKIM_MAX_KEY)
        return -1;
    for (int i = 0; i < s->wanted_count; i++)
        if (!s->values[i].text && strlen(s->wanted[i]) == s->key_len && !memcmp(s->wanted[i], s->key, s->key_len))
            return i;
    return -1;
}

static void value_ends(struct rv_skim *s)
{
    if (s->field >= 0)
        s->known++;
    s->state = s->known == s->wanted_count ? RV_SKIM_KNOWN : RV_SKIM_AFTER_VALUE;
}

static bool starts_scalar(char c)
{
    return c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n';
}

static void value_starts(struct rv_skim *s, char c)
{
    s->field = find_field(s);
    s->escaped = false;
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
            s->state = s->wanted_count ? RV_SKIM_KEY_OR_END : RV_SKIM_KNOWN;
            s->first_key = true;
        } else if (!is_space(c)) {
            s->state = RV_SKIM_BROKEN;
        }
        break;
    case RV_SKIM_KEY_OR_END:
        if (c == '"') {
            s->state = RV_SKIM_KEY;
            s->key_len = 0;
            s->escaped = false;
        } else if (c == '}' && s->first_key) {
            s->state = RV_SKIM_END;
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
            s->first_key = false;
        } else if (c == '}') {
            s->state = RV_SKIM_END;
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

void rv_skim_feed(struct rv_skim *s, const char *bytes, size_t len)
{
    size_t i = 0;
    while (i < len && s->state < RV_SKIM_KNOWN)
        step(s, bytes[i++]);
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

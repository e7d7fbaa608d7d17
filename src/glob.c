/*
 * See glob.h. Of several stars only the last needs to be tried further along the text, for what stands before it has
 * matched as early as it can; the same holds for the "**" of several. So there is no recursion, and no pattern is slow.
 */
#define _GNU_SOURCE
#include "glob.h"
#include "text.h"

#include <string.h>

/* The character at *p (which has one), and on to the next. A byte that is no UTF-8 is beyond all code points. */
static uint32_t take(const char **p, size_t len)
{
    uint32_t c = 0;
    size_t n = rv_utf8((const unsigned char *)*p, len, &c);
    if (!n)
        c = 0x110000u + (unsigned char)**p;
    *p += n ? n : 1;
    return c;
}

/* The next character that a pattern stands for itself with; 0 at its end. */
static uint32_t literal(const char **p)
{
    *p += **p == '\\';
    return **p ? take(p, strlen(*p)) : 0;
}

/* 1 when c is in the set, 0 when not, -1 when the set has no end. *p is behind its "[" and then behind its "]". */
static int in_set(const char **p, uint32_t c)
{
    bool negated = **p == '!' || **p == '^', in = false;
    *p += negated;
    for (bool first = true; **p && (first || **p != ']'); first = false) {
        uint32_t low = literal(p), high = low;
        if (**p == '-' && (*p)[1] && (*p)[1] != ']') {
            ++*p;
            high = literal(p);
        }
        in = in || (low <= c && c <= high);
    }
    if (!**p)
        return -1;
    ++*p;
    return in != negated;
}

const char *rv_glob_error(const char *pattern)
{
    if (!pattern[strspn(pattern, "/")])
        return "no name in it";
    for (const char *p = pattern; *p;) {
        if (*p == '\\' && !p[1])
            return "a backslash at its end";
        if (*p != '[') {
            literal(&p);
            continue;
        }
        const char *set = ++p;
        if (in_set(&p, 0) < 0)
            return "a [ without its ]";
        if (memmem(set, (size_t)(p - set), "[:", 2))
            return "classes such as [:alpha:] are not known";
    }
    return NULL;
}

/* Whether "**" stands here as the name of a folder. */
static bool is_deep(const char *pattern, const char *p)
{
    return (p == pattern || p[-1] == '/') && p[0] == '*' && p[1] == '*' && (!p[2] || (p[2] == '/' && p[3]));
}

/* One character against what is at *p, and *p behind that. */
static bool match_one(const char **p, uint32_t c)
{
    switch (**p) {
    case '\0':
        return false;
    case '?':
        ++*p;
        return c != '/';
    case '[':
        ++*p;
        return in_set(p, c) == 1 && c != '/';
    default:
        return literal(p) == c;
    }
}

static bool match(const char *pattern, const char *text, size_t len, bool folder)
{
    const char *p = pattern, *t = text, *end = text + len;
    const char *star = NULL, *star_text = NULL; /* behind the folder's last star, and behind what it stands for */
    const char *deep = NULL, *deep_text = NULL; /* the same for the last "**" */
    for (;;) {
        if (is_deep(pattern, p)) {
            if (!p[2])
                return t < end;
            deep = p += 3;
            deep_text = t;
            star = NULL;
            continue;
        }
        if (*p == '*') {
            star = ++p;
            star_text = t;
            continue;
        }
        if (t == end)
            return !*p || (folder && !strcmp(p, "/"));
        uint32_t c = take(&t, (size_t)(end - t));
        if (match_one(&p, c)) {
            if (c == '/')
                star = NULL;
        } else if (star && *star_text != '/') {
            take(&star_text, (size_t)(end - star_text));
            p = star;
            t = star_text;
        } else {
            const char *slash = deep ? memchr(deep_text, '/', (size_t)(end - deep_text)) : NULL;
            if (!slash)
                return false;
            t = deep_text = slash + 1;
            p = deep;
            star = NULL;
        }
    }
}

bool rv_glob_match(const char *pattern, const char *path, size_t len, bool folder)
{
    const char *slash = strchr(pattern, '/');
    if (slash && slash[1])
        return match(pattern + (slash == pattern), path, len, folder);
    const char *before = memrchr(path, '/', len), *name = before ? before + 1 : path;
    return match(pattern, name, len - (size_t)(name - path), folder);
}

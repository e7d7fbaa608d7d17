/* libFuzzer on the JSON skimmer: any bytes, cut at any place, give the same as when they come at once. */
#include "skim.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const wanted[] = {"status", "message", "a"};

static void skim(struct rv_skim *s, const char *bytes, size_t size, size_t piece)
{
    const struct rv_skim_wish wish = {wanted, 3, "data", "id"};
    rv_skim_begin(s, &wish);
    for (size_t at = 0; at < size; at += piece)
        rv_skim_feed(s, bytes + at, size - at < piece ? size - at : piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct rv_skim whole = {0}, cut = {0};
    const char *bytes = (const char *)data + 1;
    skim(&whole, bytes, size - 1, size);
    skim(&cut, bytes, size - 1, 1 + data[0] % 16);
    if (whole.state != cut.state || rv_skim_complete(&whole) != rv_skim_complete(&cut))
        abort();
    if (whole.list.count != cut.list.count || whole.list.len != cut.list.len
        || (whole.list.len && memcmp(whole.list.bytes, cut.list.bytes, whole.list.len)))
        abort();
    for (int i = 0; i < 3; i++) {
        struct rv_skim_value *a = &whole.values[i], *b = &cut.values[i];
        if (!a->text != !b->text || a->len != b->len || (a->text && memcmp(a->text, b->text, a->len)))
            abort();
        if (a->text && !a->truncated && rv_json_unquote(a->text, a->len) > (long)a->len)
            abort();
    }
    rv_skim_free(&whole);
    rv_skim_free(&cut);
    return 0;
}

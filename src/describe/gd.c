/* GIF, WebP and BMP by libgd. See image.h. */
#include "image.h"

#include <gd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* What libgd reads from; its own contexts do not tell that a file has ended. */
struct reader {
    gdIOCtx ctx;
    FILE *file;
    int ended; /* more was asked for than there is */
};

static int get_bytes(gdIOCtx *ctx, void *to, int n)
{
    struct reader *r = (struct reader *)ctx;
    size_t got = n > 0 ? fread(to, 1, (size_t)n, r->file) : 0;
    r->ended |= n > 0 && got < (size_t)n;
    return (int)got;
}

static int get_byte(gdIOCtx *ctx)
{
    unsigned char c;
    return get_bytes(ctx, &c, 1) ? c : EOF;
}

static int seek_to(gdIOCtx *ctx, const int at)
{
    return !fseek(((struct reader *)ctx)->file, at, SEEK_SET);
}

static long tell(gdIOCtx *ctx)
{
    return ftell(((struct reader *)ctx)->file);
}

static void free_nothing(gdIOCtx *ctx)
{
    (void)ctx;
}

static void say_nothing(int level, const char *format, va_list args)
{
    (void)level;
    (void)format;
    (void)args;
}

void rv_image_silence(void)
{
    gdSetErrorMethod(say_nothing);
}

static gdImagePtr decode(struct reader *r, enum rv_image_format format)
{
    switch (format) {
    case RV_FORMAT_GIF:
        return gdImageCreateFromGifCtx(&r->ctx);
    case RV_FORMAT_WEBP:
        return gdImageCreateFromWebpCtx(&r->ctx);
    default:
        return gdImageCreateFromBmpCtx(&r->ctx);
    }
}

/* A pixel of libgd's over white. */
static void over_white(gdImagePtr im, int x, int y, unsigned char *rgb)
{
    int c = im->trueColor ? im->tpixels[y][x] : im->pixels[y][x];
    int is_clear = im->transparent >= 0 && (im->trueColor ? (c & 0xffffff) == (im->transparent & 0xffffff) : c == im->transparent);
    int parts[3] = {gdImageRed(im, c), gdImageGreen(im, c), gdImageBlue(im, c)};
    int alpha = is_clear ? gdAlphaTransparent : gdImageAlpha(im, c);
    for (int i = 0; i < 3; i++)
        rgb[i] = (unsigned char)((parts[i] * (gdAlphaMax - alpha) + 255 * alpha + gdAlphaMax / 2) / gdAlphaMax);
}

enum rv_image_result rv_image_gd(FILE *file, const struct rv_image_header *header, struct rv_image *image)
{
    struct reader r = {.ctx = {.getC = get_byte, .getBuf = get_bytes, .seek = seek_to, .tell = tell, .gd_free = free_nothing},
                       .file = file};
    enum rv_image_result result = RV_IMAGE_BAD;
    unsigned char *rgb = NULL;
    rewind(file);
    gdImagePtr im = header->start && fseek(file, (long)header->start, SEEK_SET) ? NULL : decode(&r, header->format);
    /* A WebP is read to its end before it is decoded, so that there the end tells nothing. */
    int cut = r.ended && header->format != RV_FORMAT_WEBP;
    if (cut || !im) {
        snprintf(image->why, sizeof image->why, "%s",
                 cut ? RV_IMAGE_CUT : "damaged, or of a kind that libgd does not decode");
    } else if (!(rgb = malloc((size_t)gdImageSX(im) * 3))) {
        snprintf(image->why, sizeof image->why, "out of memory");
        result = RV_IMAGE_TOO_LARGE;
    } else {
        rv_grid_start(&image->grid, gdImageSX(im), gdImageSY(im));
        for (int y = 0; y < gdImageSY(im); y++) {
            for (int x = 0; x < gdImageSX(im); x++)
                over_white(im, x, y, rgb + 3 * x);
            rv_grid_add(&image->grid, y, rgb);
        }
        image->width = gdImageSX(im);
        image->height = gdImageSY(im);
        result = RV_IMAGE_OK;
    }
    free(rgb);
    if (im)
        gdImageDestroy(im);
    return result;
}

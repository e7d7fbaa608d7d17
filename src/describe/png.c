/* PNG by libpng itself: libgd leaves its warnings to libpng, which prints them. Row by row unless the file is interlaced.
 * See image.h. */
#include "image.h"

#include <setjmp.h>
#include <stdlib.h>

#include <png.h>

struct decoder {
    png_structp png;
    png_infop info;
    FILE *file;
    char *why;
    unsigned char *pixels; /* a row of 4 bytes a pixel; all of them when interlaced */
};

static void fail(png_structp png, png_const_charp message)
{
    struct decoder *d = png_get_error_ptr(png);
    snprintf(d->why, RV_IMAGE_WHY, "%s", message);
    png_longjmp(png, 1);
}

/* Flaws are passed over, as viewers do. */
static void pass_over(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void read_bytes(png_structp png, png_bytep to, size_t n)
{
    struct decoder *d = png_get_io_ptr(png);
    if (fread(to, 1, n, d->file) != n)
        png_error(png, RV_IMAGE_CUT);
}

/* n pixels with alpha to such without, in place. */
static void over_white(unsigned char *p, int n)
{
    for (unsigned char *to = p; n--; p += 4, to += 3)
        for (int i = 0; i < 3; i++)
            to[i] = (unsigned char)((p[i] * p[3] + 255 * (255 - p[3]) + 127) / 255);
}

static enum rv_image_result decode(struct decoder *d, struct rv_image *image)
{
    png_set_read_fn(d->png, d, read_bytes);
    png_read_info(d->png, d->info);
    png_set_expand(d->png);
    png_set_scale_16(d->png);
    png_set_gray_to_rgb(d->png);
    png_set_add_alpha(d->png, 255, PNG_FILLER_AFTER);
    int passes = png_set_interlace_handling(d->png);
    png_read_update_info(d->png, d->info);
    size_t row = (size_t)image->width * 4;
    d->pixels = malloc(row * (passes > 1 ? (size_t)image->height : 1));
    if (!d->pixels) {
        snprintf(d->why, RV_IMAGE_WHY, "out of memory");
        return RV_IMAGE_TOO_LARGE;
    }
    rv_grid_start(&image->grid, image->width, image->height);
    for (int pass = 1; pass <= passes; pass++)
        for (int y = 0; y < image->height; y++) {
            unsigned char *pixels = d->pixels + (passes > 1 ? row * (size_t)y : 0);
            png_read_row(d->png, pixels, NULL);
            if (pass < passes)
                continue;
            over_white(pixels, image->width);
            rv_grid_add(&image->grid, y, pixels);
        }
    return RV_IMAGE_OK;
}

enum rv_image_result rv_image_png(FILE *file, struct rv_image *image)
{
    struct decoder *d = calloc(1, sizeof *d);
    enum rv_image_result result = RV_IMAGE_TOO_LARGE;
    if (d) {
        d->file = file;
        d->why = image->why;
        d->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, d, fail, pass_over);
        d->info = d->png ? png_create_info_struct(d->png) : NULL;
    }
    if (!d || !d->info)
        snprintf(image->why, sizeof image->why, "out of memory");
    else if (!setjmp(png_jmpbuf(d->png)))
        result = decode(d, image);
    else
        result = RV_IMAGE_BAD;
    if (d) {
        png_destroy_read_struct(&d->png, &d->info, NULL);
        free(d->pixels);
    }
    free(d);
    return result;
}

/*
 * JPEG by libjpeg itself: it scales while decoding, so that a large photograph costs a fraction of its pixels' time and
 * memory, and it tells a file that was cut from one with a harmless flaw. See image.h.
 */
#include "image.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* A cell's average of 4 x 4 samples or more is near enough to that of all. */
enum { ENOUGH = 4 * RV_GRID, MAX_SCANS = 100 };

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    int ended; /* the file ended before the image did; by itself that may be the end marker alone */
    char *why;
    unsigned char *rgb;
};

static void fail(j_common_ptr jpeg)
{
    struct decoder *d = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    snprintf(d->why, RV_IMAGE_WHY, "%s", message);
    longjmp(d->failed, 1);
}

static void fail_as_cut(struct decoder *d)
{
    snprintf(d->why, RV_IMAGE_WHY, "%s", RV_IMAGE_CUT);
    longjmp(d->failed, 1);
}

/* Flaws are passed over, as viewers do; all but missing data. */
static void on_message(j_common_ptr jpeg, int level)
{
    struct decoder *d = jpeg->client_data;
    if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF)
        d->ended = 1;
    else if (level < 0 && jpeg->err->msg_code == JWRN_HIT_MARKER && d->ended)
        fail_as_cut(d);
}

static void print_nothing(j_common_ptr jpeg)
{
    (void)jpeg;
}

/* A file of a few KB can name thousands of scans, each of which takes as long as the whole picture. */
static void limit_scans(j_common_ptr jpeg)
{
    struct decoder *d = jpeg->client_data;
    if (d->jpeg.input_scan_number <= MAX_SCANS)
        return;
    snprintf(d->why, RV_IMAGE_WHY, "more than %d scans", MAX_SCANS);
    longjmp(d->failed, 1);
}

/* n pixels of four inks to red, green and blue, in place. Adobe's files hold them the other way round. */
static void ink_to_rgb(unsigned char *p, int n, int inverted)
{
    for (unsigned char *to = p; n--; p += 4, to += 3) {
        unsigned k = inverted ? p[3] : 255u - p[3];
        for (int i = 0; i < 3; i++)
            to[i] = (unsigned char)((inverted ? p[i] : 255u - p[i]) * k / 255);
    }
}

static enum rv_image_result decode(struct decoder *d, FILE *file, int64_t max_pixels, struct rv_image *image)
{
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->client_data = d;
    jpeg->progress = &d->progress;
    jpeg_stdio_src(jpeg, file);
    jpeg_read_header(jpeg, TRUE);
    enum rv_image_result result = rv_image_size(image, jpeg->image_width, jpeg->image_height, max_pixels);
    if (result)
        return result;
    int has_inks = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = has_inks ? JCS_CMYK : JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = 1;
    while (jpeg->scale_denom < 8 && image->width / (2 * (int)jpeg->scale_denom) >= ENOUGH &&
           image->height / (2 * (int)jpeg->scale_denom) >= ENOUGH)
        jpeg->scale_denom *= 2;
    jpeg_start_decompress(jpeg);
    d->rgb = malloc((size_t)jpeg->output_width * 4);
    if (!d->rgb) {
        snprintf(d->why, RV_IMAGE_WHY, "out of memory");
        return RV_IMAGE_TOO_LARGE;
    }
    rv_grid_start(&image->grid, (int)jpeg->output_width, (int)jpeg->output_height);
    while (jpeg->output_scanline < jpeg->output_height) {
        int y = (int)jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, &d->rgb, 1);
        if (has_inks)
            ink_to_rgb(d->rgb, (int)jpeg->output_width, jpeg->saw_Adobe_marker);
        rv_grid_add(&image->grid, y, d->rgb);
    }
    return RV_IMAGE_OK;
}

enum rv_image_result rv_image_jpeg(FILE *file, int64_t max_pixels, struct rv_image *image)
{
    struct decoder *d = calloc(1, sizeof *d);
    enum rv_image_result result = RV_IMAGE_BAD;
    if (!d) {
        snprintf(image->why, sizeof image->why, "out of memory");
        return RV_IMAGE_TOO_LARGE;
    }
    d->why = image->why;
    d->jpeg.client_data = d;
    d->jpeg.err = jpeg_std_error(&d->errors);
    d->errors.error_exit = fail;
    d->errors.emit_message = on_message;
    d->errors.output_message = print_nothing;
    d->progress.progress_monitor = limit_scans;
    if (!setjmp(d->failed))
        result = decode(d, file, max_pixels, image);
    else
        result = RV_IMAGE_BAD;
    jpeg_destroy_decompress(&d->jpeg);
    free(d->rgb);
    free(d);
    return result;
}

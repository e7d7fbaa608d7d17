/* See image.h. */
#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BYTES = 256 * 1024 * 1024 };

void rv_grid_start(struct rv_grid *g, int width, int height)
{
    memset(g, 0, sizeof *g);
    g->width = width;
    g->height = height;
}

/* Both sides are counted in parts of which a pixel has RV_GRID and a cell as many as the image has pixels: so that every
 * overlap is a whole number. */
void rv_grid_add(struct rv_grid *g, int y, const unsigned char *rgb)
{
    uint64_t line[RV_GRID][3] = {{0}};
    for (int64_t cell = 0; cell < RV_GRID; cell++)
        for (int64_t from = cell * g->width, to = from + g->width, x = from / RV_GRID; from < to; x++) {
            int64_t pixel_end = (x + 1) * RV_GRID, end = pixel_end < to ? pixel_end : to;
            for (int i = 0; i < 3; i++)
                line[cell][i] += (uint64_t)(end - from) * rgb[3 * x + i];
            from = end;
        }
    for (int64_t from = (int64_t)y * RV_GRID, to = from + RV_GRID, cell = from / g->height; from < to; cell++) {
        int64_t cell_end = (cell + 1) * g->height, end = cell_end < to ? cell_end : to;
        for (int c = 0; c < RV_GRID; c++)
            for (int i = 0; i < 3; i++)
                g->sums[cell][c][i] += (uint64_t)(end - from) * line[c][i];
        from = end;
    }
}

void rv_image_cell(const struct rv_image *image, int row, int column, double rgb[3])
{
    /* From what is seen to what is stored. */
    int o = image->orientation, last = RV_GRID - 1;
    int r = o >= 5 ? column : row, c = o >= 5 ? row : column;
    if (o == 3 || o == 4 || o == 6 || o == 7)
        r = last - r;
    if (o == 2 || o == 3 || o == 7 || o == 8)
        c = last - c;
    for (int i = 0; i < 3; i++)
        rgb[i] = (double)image->grid.sums[r][c][i] / ((double)image->grid.width * image->grid.height);
}

enum rv_image_result rv_image_size(struct rv_image *image, int64_t width, int64_t height, int64_t max_pixels)
{
    if (width < 1 || height < 1) {
        snprintf(image->why, sizeof image->why, "the image says that it is %lld x %lld pixels", (long long)width, (long long)height);
        return RV_IMAGE_BAD;
    }
    /* Neither is beyond 2^32 in any format. */
    if (width > INT32_MAX || height > INT32_MAX || width > max_pixels / height) {
        snprintf(image->why, sizeof image->why, "%lld x %lld pixels, more than the limit of %lld", (long long)width,
                 (long long)height, (long long)max_pixels);
        return RV_IMAGE_TOO_LARGE;
    }
    image->width = (int)width;
    image->height = (int)height;
    return RV_IMAGE_OK;
}

static enum rv_image_result unreadable(struct rv_image *image, const char *why)
{
    snprintf(image->why, sizeof image->why, "%s", why);
    return RV_IMAGE_UNREADABLE;
}

static enum rv_image_result decode(FILE *file, int64_t max_pixels, struct rv_image *image)
{
    struct rv_image_header header;
    rv_image_header(fileno(file), &header);
    if (header.format == RV_FORMAT_JPEG) {
        enum rv_image_result result = rv_image_jpeg(file, max_pixels, image);
        image->orientation = rv_image_orientation(fileno(file));
        if (image->orientation >= 5) {
            int width = image->width;
            image->width = image->height;
            image->height = width;
        }
        return result;
    }
    if (header.format == RV_FORMAT_NONE) {
        snprintf(image->why, sizeof image->why, "not a JPEG, PNG, GIF, WebP or BMP image");
        return RV_IMAGE_BAD;
    }
    enum rv_image_result result = rv_image_size(image, header.width, header.height, max_pixels);
    if (result)
        return result;
    return header.format == RV_FORMAT_PNG ? rv_image_png(file, image) : rv_image_gd(file, &header, image);
}

enum rv_image_result rv_image_read(const char *path, int64_t max_pixels, struct rv_image *image)
{
    enum rv_image_result result;
    struct stat st;
    image->orientation = 1;
    image->why[0] = 0;
    /* Without O_NONBLOCK a named pipe would be waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return unreadable(image, strerror(errno));
    FILE *file = fstat(fd, &st) ? NULL : fdopen(fd, "rb");
    if (!file) {
        result = unreadable(image, strerror(errno));
        close(fd);
        return result;
    }
    if (!S_ISREG(st.st_mode)) {
        result = unreadable(image, S_ISDIR(st.st_mode) ? strerror(EISDIR) : "not a file");
    } else if (!st.st_size) {
        snprintf(image->why, sizeof image->why, "the file is empty");
        result = RV_IMAGE_BAD;
    } else if (st.st_size > MAX_BYTES) {
        snprintf(image->why, sizeof image->why, "%lld bytes, more than the limit of %d", (long long)st.st_size, MAX_BYTES);
        result = RV_IMAGE_TOO_LARGE;
    } else {
        result = decode(file, max_pixels, image);
        if (result && ferror(file))
            result = unreadable(image, "reading it fails");
    }
    fclose(file);
    return result;
}

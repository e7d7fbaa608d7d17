/*
 * Writes pictures for the specs of revec.describe:
 *
 *     picture KIND FILE WIDTH HEIGHT [KIND FILE WIDTH HEIGHT]...
 *
 * Kinds: bmp gif jpeg png webp; interlaced and palette (PNG); grey, inks and progressive (JPEG); clear (PNG), clear-gif and clear-webp, whose right half is
 * transparent; animated (GIF, whose second frame is black).
 */
#include <gd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

/* Smooth, so that no codec changes it much, and alike in no two directions. */
static void colour_at(int x, int y, int w, int h, int rgb[3])
{
    rgb[0] = 250 - 230 * x / w;
    rgb[1] = 20 + 200 * y / h;
    rgb[2] = x < w / 3 && y < h / 2 ? 230 : 40;
}

static gdImagePtr paint(int w, int h)
{
    gdImagePtr im = gdImageCreateTrueColor(w, h);
    for (int y = 0; im && y < h; y++)
        for (int x = 0; x < w; x++) {
            int rgb[3];
            colour_at(x, y, w, h, rgb);
            gdImageSetPixel(im, x, y, gdTrueColor(rgb[0], rgb[1], rgb[2]));
        }
    return im;
}

/* Lets nothing but white be seen through the right half. */
static void clear_half(gdImagePtr im)
{
    gdImageAlphaBlending(im, 0);
    gdImageSaveAlpha(im, 1);
    gdImageFilledRectangle(im, gdImageSX(im) / 2, 0, gdImageSX(im), gdImageSY(im), gdTrueColorAlpha(0, 0, 0, gdAlphaTransparent));
}

/* JPEG as libgd does not write it: one component or four. */
static void write_jpeg(FILE *file, int w, int h, int parts, int progressive)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *row = malloc((size_t)w * 4);
    if (!row)
        exit(1);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = (JDIMENSION)w;
    jpeg.image_height = (JDIMENSION)h;
    jpeg.input_components = parts;
    jpeg.in_color_space = parts == 1 ? JCS_GRAYSCALE : parts == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 95, TRUE);
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            int rgb[3];
            unsigned char *p = row + x * parts;
            colour_at(x, y, w, h, rgb);
            if (parts == 1)
                p[0] = (unsigned char)((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2]) / 1000);
            for (int i = 0; i < 3 && parts > 1; i++)
                p[i] = (unsigned char)rgb[i]; /* libjpeg marks four as Adobe's, which are the other way round */
            if (parts == 4)
                p[3] = 255;
        }
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
}

static void write_clear_gif(FILE *file, gdImagePtr im)
{
    gdImageTrueColorToPalette(im, 0, 250);
    int clear = gdImageColorAllocate(im, 0, 0, 0);
    gdImageColorTransparent(im, clear);
    gdImageFilledRectangle(im, gdImageSX(im) / 2, 0, gdImageSX(im), gdImageSY(im), clear);
    gdImageGif(im, file);
}

static void write_animation(FILE *file, gdImagePtr im)
{
    gdImagePtr black = gdImageCreate(gdImageSX(im), gdImageSY(im));
    gdImageColorAllocate(black, 0, 0, 0);
    gdImageTrueColorToPalette(im, 0, 256);
    gdImageGifAnimBegin(im, file, 1, 0);
    gdImageGifAnimAdd(im, file, 1, 0, 0, 10, gdDisposalNone, NULL);
    gdImageGifAnimAdd(black, file, 1, 0, 0, 10, gdDisposalNone, NULL);
    gdImageGifAnimEnd(file);
    gdImageDestroy(black);
}

static int write_picture(const char *kind, const char *path, int w, int h)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return 2;
    gdImagePtr im = paint(w, h);
    if (!im)
        return fclose(file), 2;
    if (!strcmp(kind, "bmp"))
        gdImageBmp(im, file, 0);
    else if (!strcmp(kind, "gif"))
        gdImageTrueColorToPalette(im, 0, 256), gdImageGif(im, file);
    else if (!strcmp(kind, "jpeg"))
        gdImageJpeg(im, file, 95);
    else if (!strcmp(kind, "png"))
        gdImagePng(im, file);
    else if (!strcmp(kind, "interlaced"))
        gdImageInterlace(im, 1), gdImagePng(im, file);
    else if (!strcmp(kind, "palette"))
        gdImageTrueColorToPalette(im, 0, 256), gdImagePng(im, file);
    else if (!strcmp(kind, "webp"))
        gdImageWebpEx(im, file, 95);
    else if (!strcmp(kind, "grey"))
        write_jpeg(file, w, h, 1, 0);
    else if (!strcmp(kind, "inks"))
        write_jpeg(file, w, h, 4, 0);
    else if (!strcmp(kind, "progressive"))
        write_jpeg(file, w, h, 3, 1);
    else if (!strcmp(kind, "clear"))
        clear_half(im), gdImagePng(im, file);
    else if (!strcmp(kind, "clear-webp"))
        clear_half(im), gdImageWebpEx(im, file, 95);
    else if (!strcmp(kind, "clear-gif"))
        write_clear_gif(file, im);
    else if (!strcmp(kind, "animated"))
        write_animation(file, im);
    gdImageDestroy(im);
    return fclose(file) ? 1 : 0;
}

int main(int argc, char **argv)
{
    int failed = argc < 5;
    for (int i = 1; i + 3 < argc && !failed; i += 4)
        failed = write_picture(argv[i], argv[i + 1], atoi(argv[i + 2]), atoi(argv[i + 3]));
    return failed;
}

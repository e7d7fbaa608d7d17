/*
 * Renders photograph-like pictures into dated folders, as the storage of an image-search service holds them:
 *
 *     render --out DIR --count N [--seed S] [--width W --height H]
 *
 * writes DIR/2026/01/25/<uuid>.jpg and so on, in six formats. Picture number i of a seed is the same on every machine and
 * whatever the count; its encoded bytes depend on the version of libgd.
 *
 *     cc -std=c11 -O2 render.c canvas.c scenery.c landscapes.c closeups.c -lgd -lm
 */
#include "canvas.h"
#include "scenes.h"

#include <errno.h>
#include <gd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096, MIN_SIDE = 16, MONTHS = 2, DAYS = 28 };

struct options {
	const char *out;
	long count, seed, width, height;
};

/* What has been done so far. */
struct tally {
	long images, folders;
	long long bytes;
	unsigned char seen[MONTHS][DAYS]; /* folders already counted */
};

static void *
encode_jpeg(gdImagePtr image, int *size)
{
	return gdImageJpegPtr(image, size, 90);
}

static void *
encode_gif(gdImagePtr image, int *size)
{
	return gdImageTrueColorToPalette(image, 1, 256) ? gdImageGifPtr(image, size) : NULL;
}

static void *
encode_webp(gdImagePtr image, int *size)
{
	return gdImageWebpPtrEx(image, size, 85);
}

static void *
encode_bmp(gdImagePtr image, int *size)
{
	return gdImageBmpPtr(image, size, 0);
}

static const struct {
	const char *extension, *upper;
	void *(*encode)(gdImagePtr, int *);
} formats[] = {
    {".jpg", ".JPG", encode_jpeg}, {".jpeg", ".JPEG", encode_jpeg}, {".png", ".PNG", gdImagePngPtr},
    {".gif", ".GIF", encode_gif},  {".webp", ".WEBP", encode_webp}, {".bmp", ".BMP", encode_bmp},
};

static void (*const painters[])(struct canvas *, struct rng *) = {
    paint_mountains, paint_lake, paint_countryside, paint_sea, paint_town_at_night, paint_forest, paint_flower, paint_fruit,
};

static int
fail(const char *what, const char *which, const char *why)
{
	fprintf(stderr, "render: %s%s: %s\n", what, which, why);
	return -1;
}

/* Parses a whole decimal number in low..high. */
static int
parse(const char *flag, const char *text, long low, long high, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, 10);
	if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *value >= low && *value <= high)
		return 0;
	fprintf(stderr, "render: %s %s: integer %ld..%ld expected; give one in that range\n", flag, text, low, high);
	return -1;
}

static int
parse_options(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i += 2) {
		const char *flag = argv[i], *value = argv[i + 1];
		int result = 0;

		if (!value)
			return fail(flag, "", "no value given; usage: render --out DIR --count N [--seed S] [--width W --height H]");
		if (strcmp(flag, "--out") == 0)
			options->out = value;
		else if (strcmp(flag, "--count") == 0)
			result = parse(flag, value, 1, 10000000, &options->count);
		else if (strcmp(flag, "--seed") == 0)
			result = parse(flag, value, 0, 2147483647, &options->seed);
		else if (strcmp(flag, "--width") == 0)
			result = parse(flag, value, MIN_SIDE, CANVAS_MAX, &options->width);
		else if (strcmp(flag, "--height") == 0)
			result = parse(flag, value, MIN_SIDE, CANVAS_MAX, &options->height);
		else
			return fail(flag, "", "unknown flag; known are --out --count --seed --width --height");
		if (result != 0)
			return result;
	}
	if (!options->out || options->out[0] == '\0')
		return fail("--out", "", "missing; name the folder to write into");
	if (options->count == 0)
		return fail("--count", "", "missing; say how many images, 1..10000000");
	return 0;
}

/* Makes a folder and those above it. */
static int
make_folders(char *path)
{
	for (char *p = path + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char kept = *p;

		*p = '\0';
		if (mkdir(path, 0777) != 0 && errno != EEXIST)
			return fail("cannot make folder ", path, strerror(errno));
		*p = kept;
		if (kept == '\0')
			return 0;
	}
}

/* Half an image is worse than none: a file that could not be written whole is removed. */
static int
write_file(const char *path, const void *data, size_t size)
{
	FILE *file = fopen(path, "wb");

	if (!file)
		return fail("cannot write ", path, strerror(errno));
	int written = fwrite(data, 1, size, file) == size && fflush(file) == 0, reason = errno;

	if (fclose(file) != 0 && written) {
		written = 0;
		reason = errno;
	}
	if (written)
		return 0;
	remove(path);
	return fail("cannot write ", path, strerror(reason));
}

static int
channel(double value)
{
	return (int)(clamp(value, 0, 1) * 255 + 0.5);
}

static gdImagePtr
to_gd(const struct canvas *canvas)
{
	gdImagePtr image = gdImageCreateTrueColor(canvas->width, canvas->height);

	for (int y = 0; image && y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			const struct rgb *pixel = &canvas->pixels[y * canvas->width + x];

			gdImageSetPixel(image, x, y, gdTrueColor(channel(pixel->r), channel(pixel->g), channel(pixel->b)));
		}
	return image;
}

static void
format_uuid(struct rng *rng, char uuid[37])
{
	uint64_t high = rng_next(rng), low = rng_next(rng);

	/* Version 4, variant 1. */
	snprintf(uuid, 37, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(high >> 32), (unsigned)(high >> 16 & 0xffff),
	    (unsigned)(high & 0xfff), (unsigned)(low >> 48 & 0x3fff) | 0x8000u, (unsigned long long)(low & 0xffffffffffff));
}

static int
write_image(const struct options *options, long i, struct rng *naming, const struct canvas *canvas, struct tally *tally)
{
	size_t format = (size_t)i % (sizeof(formats) / sizeof(formats[0]));
	/* Every seventh: so each of the six formats has its turn. */
	const char *extension = i % 7 == 6 ? formats[format].upper : formats[format].extension;
	int month = rng_pick(naming, MONTHS), day = rng_pick(naming, DAYS), size = 0;
	char path[PATH_BYTES], uuid[37];

	format_uuid(naming, uuid);
	int folder = snprintf(path, sizeof(path), "%s/2026/%02d/%02d", options->out, month + 1, day + 1);

	if (folder < 0 || (size_t)folder + sizeof("/.jpeg") + sizeof(uuid) > sizeof(path))
		return fail("--out", "", "path too long; name a folder with a shorter path");
	if (make_folders(path) != 0)
		return -1;
	snprintf(path + folder, sizeof(path) - (size_t)folder, "/%s%s", uuid, extension);

	gdImagePtr image = to_gd(canvas);
	void *data = image ? formats[format].encode(image, &size) : NULL;
	int result = data ? write_file(path, data, (size_t)size)
			  : fail("cannot encode ", path, "out of memory, or libgd lacks the format");

	if (data)
		gdFree(data);
	if (image)
		gdImageDestroy(image);
	if (result != 0)
		return result;
	tally->images++;
	tally->bytes += size;
	tally->folders += !tally->seen[month][day];
	tally->seen[month][day] = 1;
	return 0;
}

static int
render(const struct options *options, struct tally *tally)
{
	struct canvas canvas;
	int result = 0;

	if (canvas_init(&canvas, (int)options->width, (int)options->height) != 0)
		return fail("--width and --height", "", "no memory for such a picture; give smaller ones");
	for (long i = 0; result == 0 && i < options->count; i++) {
		struct rng rng = {((uint64_t)options->seed << 32) + (uint64_t)i};

		/* Two streams, so that a change to a scene leaves the names as they are. */
		struct rng naming = {rng_next(&rng)}, painting = {rng_next(&rng)};

		painters[rng_pick(&painting, sizeof(painters) / sizeof(painters[0]))](&canvas, &painting);
		develop(&canvas, &painting, rng_range(&painting, 0.01, 0.035));
		result = write_image(options, i, &naming, &canvas, tally);
	}
	canvas_free(&canvas);
	return result;
}

int
main(int argc, char **argv)
{
	struct options options = {.seed = 1, .width = 480, .height = 320};
	struct tally tally = {0};

	if (parse_options(argc, argv, &options) != 0)
		return 2;
	if (render(&options, &tally) != 0)
		return 1;
	printf("%ld images in %ld folders, %lld bytes\n", tally.images, tally.folders, tally.bytes);
	if (fflush(stdout) != 0) {
		fail("cannot write ", "standard output", strerror(errno));
		return 1;
	}
	return 0;
}

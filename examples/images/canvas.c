/* See canvas.h. */
#include "canvas.h"

#include <math.h>
#include <stdlib.h>

/* SplitMix64's mixing function: each bit of the result depends on every bit of x. */
static uint64_t
scramble(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* 53 bits are what a double holds. */
static double
unit(uint64_t bits)
{
	return (double)(bits >> 11) / 9007199254740992.0;
}

uint64_t
rng_next(struct rng *rng)
{
	rng->state += UINT64_C(0x9e3779b97f4a7c15);
	return scramble(rng->state);
}

double
rng_range(struct rng *rng, double low, double high)
{
	return low + (high - low) * unit(rng_next(rng));
}

int
rng_pick(struct rng *rng, int n)
{
	return (int)(rng_next(rng) % (uint64_t)n);
}

double
clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

double
smoothstep(double low, double high, double x)
{
	double t = clamp((x - low) / (high - low), 0, 1);

	return t * t * (3 - 2 * t);
}

double
lerp(double a, double b, double t)
{
	return a + (b - a) * t;
}

/* A parabola per half turn, bent once more: off by 0.001 at most. */
double
sine(double turns)
{
	double t = turns - floor(turns);
	double y = t < 0.5 ? 16 * t * (0.5 - t) : -16 * (t - 0.5) * (1 - t);

	return y + 0.225 * (y * (y < 0 ? -y : y) - y);
}

double
cosine(double turns)
{
	return sine(turns + 0.25);
}

struct rgb
rgb(uint32_t hex)
{
	return (struct rgb){(hex >> 16 & 255) / 255.0, (hex >> 8 & 255) / 255.0, (hex & 255) / 255.0};
}

struct rgb
mix(struct rgb a, struct rgb b, double t)
{
	return (struct rgb){lerp(a.r, b.r, t), lerp(a.g, b.g, t), lerp(a.b, b.b, t)};
}

struct rgb
scale(struct rgb colour, double by)
{
	return (struct rgb){colour.r * by, colour.g * by, colour.b * by};
}

static double
lattice(uint64_t seed, int64_t x, int64_t y)
{
	uint64_t mixed = (uint64_t)x * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)y * UINT64_C(0xc2b2ae3d27d4eb4f);

	return unit(scramble(seed ^ mixed));
}

double
noise(uint64_t seed, double x, double y)
{
	double left = floor(x), top = floor(y);
	double u = smoothstep(0, 1, x - left), v = smoothstep(0, 1, y - top);
	int64_t ix = (int64_t)left, iy = (int64_t)top;

	return lerp(lerp(lattice(seed, ix, iy), lattice(seed, ix + 1, iy), u),
	    lerp(lattice(seed, ix, iy + 1), lattice(seed, ix + 1, iy + 1), u), v);
}

double
fractal(uint64_t seed, double x, double y, int octaves)
{
	double sum = 0, weight = 1, total = 0;

	for (int i = 0; i < octaves; i++) {
		sum += weight * noise(seed + (uint64_t)i, x, y);
		total += weight;
		weight /= 2;
		x *= 2;
		y *= 2;
	}
	return sum / total;
}

static void
displace(struct rng *rng, double *heights, int left, int right, double by, double roughness)
{
	int middle = left + (right - left) / 2;

	if (middle == left)
		return;
	heights[middle] = (heights[left] + heights[right]) / 2 + rng_range(rng, -by, by);
	displace(rng, heights, left, middle, by * roughness, roughness);
	displace(rng, heights, middle, right, by * roughness, roughness);
}

void
mountain_profile(struct rng *rng, double *heights, int n, double roughness)
{
	double low = 1e9, high = -1e9;

	heights[0] = rng_range(rng, 0, 1);
	heights[n - 1] = rng_range(rng, 0, 1);
	displace(rng, heights, 0, n - 1, 1, roughness);
	for (int i = 0; i < n; i++) {
		low = heights[i] < low ? heights[i] : low;
		high = heights[i] > high ? heights[i] : high;
	}
	for (int i = 0; i < n; i++)
		heights[i] = (heights[i] - low) / (high - low + 1e-9);
}

int
canvas_init(struct canvas *canvas, int width, int height)
{
	canvas->width = width;
	canvas->height = height;
	canvas->pixels = calloc((size_t)width * (size_t)height, sizeof(*canvas->pixels));
	return canvas->pixels ? 0 : -1;
}

void
canvas_free(struct canvas *canvas)
{
	free(canvas->pixels);
	canvas->pixels = NULL;
}

void
blend(struct canvas *canvas, int x, int y, struct rgb colour, double alpha)
{
	if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height || alpha <= 0)
		return;
	struct rgb *pixel = &canvas->pixels[y * canvas->width + x];

	*pixel = mix(*pixel, colour, alpha);
}

/* The part of the canvas that a shape may touch. */
struct box {
	int left, top, right, bottom; /* right and bottom excluded */
};

static struct box
clip(const struct canvas *canvas, double left, double top, double right, double bottom)
{
	return (struct box){
	    (int)clamp(floor(left) - 1, 0, canvas->width), (int)clamp(floor(top) - 1, 0, canvas->height),
	    (int)clamp(floor(right) + 2, 0, canvas->width), (int)clamp(floor(bottom) + 2, 0, canvas->height),
	};
}

void
glow(struct canvas *canvas, struct point centre, double radius, struct rgb colour, double strength)
{
	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			double dx = x - centre.x, dy = y - centre.y;
			double light = strength / (1 + (dx * dx + dy * dy) / (radius * radius));
			struct rgb *pixel = &canvas->pixels[y * canvas->width + x];

			pixel->r += colour.r * light;
			pixel->g += colour.g * light;
			pixel->b += colour.b * light;
		}
}

void
ellipse(struct canvas *canvas, struct point centre, double rx, double ry, double turn, struct rgb colour, double softness,
    double alpha)
{
	double c = cosine(turn), s = sine(turn);
	double reach = (rx > ry ? rx : ry) + softness;
	struct box box = clip(canvas, centre.x - reach, centre.y - reach, centre.x + reach, centre.y + reach);

	for (int y = box.top; y < box.bottom; y++)
		for (int x = box.left; x < box.right; x++) {
			double dx = x - centre.x, dy = y - centre.y;
			double u = (dx * c + dy * s) / rx, v = (dy * c - dx * s) / ry;
			double outside = (sqrt(u * u + v * v) - 1) * (rx < ry ? rx : ry);

			blend(canvas, x, y, colour, alpha * (1 - smoothstep(-softness / 2, softness / 2, outside)));
		}
}

void
convex(struct canvas *canvas, const struct point *corners, int n, struct rgb colour, double alpha)
{
	struct point low = corners[0], high = corners[0];

	for (int i = 1; i < n; i++) {
		low.x = corners[i].x < low.x ? corners[i].x : low.x;
		low.y = corners[i].y < low.y ? corners[i].y : low.y;
		high.x = corners[i].x > high.x ? corners[i].x : high.x;
		high.y = corners[i].y > high.y ? corners[i].y : high.y;
	}
	struct box box = clip(canvas, low.x, low.y, high.x, high.y);

	for (int y = box.top; y < box.bottom; y++)
		for (int x = box.left; x < box.right; x++) {
			double cover = 1;

			for (int i = 0; i < n; i++) {
				struct point a = corners[i], b = corners[(i + 1) % n];
				double ex = b.x - a.x, ey = b.y - a.y;
				double inside = (ex * (y - a.y) - ey * (x - a.x)) / sqrt(ex * ex + ey * ey + 1e-9);

				cover *= clamp(inside + 0.5, 0, 1);
			}
			blend(canvas, x, y, colour, alpha * cover);
		}
}

void
stroke(struct canvas *canvas, struct point from, struct point to, double width_from, double width_to, struct rgb colour)
{
	double ex = to.x - from.x, ey = to.y - from.y, reach = (width_from > width_to ? width_from : width_to) / 2;
	struct box box = clip(canvas, (from.x < to.x ? from.x : to.x) - reach, (from.y < to.y ? from.y : to.y) - reach,
	    (from.x > to.x ? from.x : to.x) + reach, (from.y > to.y ? from.y : to.y) + reach);

	for (int y = box.top; y < box.bottom; y++)
		for (int x = box.left; x < box.right; x++) {
			double along = clamp(((x - from.x) * ex + (y - from.y) * ey) / (ex * ex + ey * ey + 1e-9), 0, 1);
			double dx = x - from.x - along * ex, dy = y - from.y - along * ey;
			double radius = lerp(width_from, width_to, along) / 2;

			/* Thinner than a pixel: fainter, not broken. */
			blend(canvas, x, y, colour, clamp(radius - sqrt(dx * dx + dy * dy) + 0.5, 0, clamp(2 * radius, 0, 1)));
		}
}

void
develop(struct canvas *canvas, struct rng *rng, double grain)
{
	double cx = canvas->width / 2.0, cy = canvas->height / 2.0;

	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			struct rgb *pixel = &canvas->pixels[y * canvas->width + x];
			double dx = (x - cx) / cx, dy = (y - cy) / cy;
			double speck = 0;

			/* A sum of uniform numbers is near enough to a bell curve. */
			for (int i = 0; i < 3; i++)
				speck += rng_range(rng, -grain, grain);
			double light = (1 - 0.1 * (dx * dx + dy * dy)) * (1 + speck);

			*pixel = scale(*pixel, light);
			pixel->r += speck / 5;
			pixel->g += speck / 5;
			pixel->b += speck / 5;
		}
}

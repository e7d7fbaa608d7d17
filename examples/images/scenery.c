/* See scenery.h. */
#include "scenery.h"

#include <math.h>

struct light
pick_light(struct rng *rng)
{
	static const struct {
		uint32_t zenith, horizon, sun, rock, leaf, grass;
		double brightness, sun_height;
	} hours[] = {
	    {0x3f7fc4, 0xcfe2ee, 0xfff8e0, 0x6d7078, 0x3b6a34, 0x7f9a48, 1.00, 0.75}, /* noon in summer */
	    {0x5b8fc0, 0xf3dcc0, 0xfff0c8, 0x77706c, 0x54703a, 0x9c9a50, 0.95, 0.45}, /* afternoon */
	    {0x3a4f86, 0xf29a5c, 0xffd890, 0x5a4a58, 0x3a4438, 0x6a6440, 0.70, 0.14}, /* sunset */
	    {0x7a86b4, 0xf6c6c0, 0xffe8d8, 0x786c7c, 0x4c6450, 0x84906a, 0.85, 0.20}, /* dawn, pink */
	    {0x94a2ac, 0xd4d8d8, 0xf4f4f0, 0x6a6e70, 0x46584a, 0x76805c, 0.75, 0.60}, /* overcast */
	    {0x4a8ac8, 0xe4e4dc, 0xfff4d8, 0x76706a, 0xb4702a, 0xa89048, 1.00, 0.55}, /* autumn */
	    {0x5c96cc, 0xe8f0f6, 0xffffff, 0x8490a0, 0x56706c, 0xdce4ea, 1.00, 0.40}, /* winter */
	};
	int i = rng_pick(rng, (int)(sizeof(hours) / sizeof(hours[0])));

	double brightness = hours[i].brightness * rng_range(rng, 0.92, 1.05);
	double sun_height = hours[i].sun_height * rng_range(rng, 0.8, 1.2);

	return (struct light){
	    rgb(hours[i].zenith), rgb(hours[i].horizon), rgb(hours[i].sun),
	    rgb(hours[i].rock), rgb(hours[i].leaf), rgb(hours[i].grass), brightness, sun_height,
	};
}

struct point
pick_point(struct rng *rng, double left, double right, double top, double bottom)
{
	double x = rng_range(rng, left, right), y = rng_range(rng, top, bottom);

	return (struct point){x, y};
}

static void
paint_clouds(struct canvas *canvas, struct rng *rng, const struct light *light, double horizon)
{
	uint64_t seed = rng_next(rng);
	double cover = rng_range(rng, 0.42, 0.62), stretch = rng_range(rng, 1.5, 3.5);

	for (int y = 0; y < (int)horizon; y++) {
		/* The clouds hang in a plane overhead: towards the horizon they crowd together and fade. */
		double depth = 1 / (1.08 - y / horizon);

		for (int x = 0; x < canvas->width; x++) {
			double u = (x - canvas->width / 2.0) / canvas->height * depth * 2 / stretch, v = depth * 2.2;
			double body = fractal(seed, u + 50, v, 6), lit = fractal(seed, u + 50.08, v - 0.1, 4);
			double alpha = smoothstep(cover, cover + 0.22, body) * smoothstep(1, 0.75, y / horizon);
			struct rgb shade = mix(mix(light->zenith, rgb(0x9098a4), 0.6), light->horizon, 0.35);

			if (alpha > 0)
				blend(canvas, x, y, mix(light->sun, shade, smoothstep(cover - 0.05, cover + 0.3, lit)),
				    alpha * 0.9);
		}
	}
}

struct point
paint_sky(struct canvas *canvas, struct rng *rng, const struct light *light, double horizon)
{
	struct point sun = {rng_range(rng, 0.1, 0.9) * canvas->width, horizon * (1 - light->sun_height)};

	for (int y = 0; y < canvas->height; y++) {
		double t = clamp(y / horizon, 0, 1);

		for (int x = 0; x < canvas->width; x++)
			blend(canvas, x, y, mix(light->zenith, light->horizon, t * t * (2 - t)), 1);
	}
	glow(canvas, sun, canvas->height * 0.11, light->sun, 0.4);
	ellipse(canvas, sun, canvas->height * 0.03, canvas->height * 0.03, 0, scale(light->sun, 1.1), canvas->height * 0.012, 1);
	if (rng_pick(rng, 4) != 0)
		paint_clouds(canvas, rng, light, horizon);
	return sun;
}

void
paint_ridge(struct canvas *canvas, struct rng *rng, const struct light *light, struct rgb colour, double crest, double foot,
    double roughness, double haze, double snow)
{
	uint64_t seed = rng_next(rng);
	double heights[CANVAS_MAX], size = canvas->height * 0.06;
	int side = rng_pick(rng, 2) ? 4 : -4;
	/* Rock is craggy all over, grass lies smooth. */
	double relief = lerp(1, 4.5, smoothstep(0.4, 0.5, roughness));

	mountain_profile(rng, heights, canvas->width, roughness);
	for (int x = 0; x < canvas->width; x++) {
		double top = lerp(foot, crest, heights[x]);

		for (int y = (int)top; y < canvas->height; y++) {
			double texture = fractal(seed, x / size, y / size * 0.8, 5);
			double uphill = fractal(seed, (x + side) / size, (y - 3) / size * 0.8, 5);
			/* Which way the ground faces: at the crest told from its slope, below from the texture. */
			int beside = (int)clamp(x + side + (texture - 0.5) * 30, 0, canvas->width - 1);
			double slope = (heights[x] - heights[beside]) * 6 / (1 + (y - top) / size);
			double facing = clamp(slope + (texture - uphill) * relief + (texture - 0.5) * 0.5, -0.6, 0.6);
			double altitude = (foot - y) / (foot - crest) + (texture - 0.5) * 0.35;
			struct rgb ground = mix(colour, rgb(0xf4f6fa), smoothstep(snow, snow + 0.08, altitude));

			ground = scale(ground, (0.85 + facing * 0.7) * light->brightness);
			ground = mix(ground, light->horizon, clamp(haze + 0.25 * (y - top) / canvas->height, 0, 1));
			blend(canvas, x, y, ground, clamp(y + 1 - top, 0, 1));
		}
	}
}

void
paint_ranges(struct canvas *canvas, struct rng *rng, const struct light *light, double horizon, double bottom)
{
	int ranges = 3 + rng_pick(rng, 2);
	double snow = rng_pick(rng, 3) ? rng_range(rng, 0.4, 0.7) : 2;

	for (int i = 0; i < ranges; i++) {
		double nearness = i / (ranges - 1.0);
		double crest = lerp(horizon * rng_range(rng, 0.3, 0.55), bottom * 0.86, nearness), foot = lerp(horizon, bottom, nearness);
		struct rgb colour = mix(light->rock, light->leaf, nearness);

		paint_ridge(canvas, rng, light, colour, crest, foot, lerp(0.56, 0.48, nearness), lerp(0.62, 0.05, nearness),
		    nearness < 0.5 ? snow : 2);
	}
}

/* `foot` is where the trunk meets the ground. */
static void
paint_conifer(struct canvas *canvas, struct rng *rng, struct point foot, double height, struct rgb colour)
{
	stroke(canvas, foot, (struct point){foot.x, foot.y - height * 0.9}, height * 0.04, 1, scale(rgb(0x4a3a2c), 0.7));
	for (double down = 0; down < height * 0.93; down += 0.5) {
		double t = down / height;
		/* Tiers of branches, each wider at its bottom, with ragged ends. */
		double tier = t * 9 - floor(t * 9);
		double reach = height * 0.19 * t * (0.55 + 0.45 * tier);
		double left = reach * rng_range(rng, 0.6, 1.1), right = reach * rng_range(rng, 0.6, 1.1);

		for (double x = -left; x <= right; x++) {
			double shade = rng_range(rng, 0.6, 1.0) * (0.75 + 0.35 * tier - 0.25 * x / (reach + 1));

			blend(canvas, (int)(foot.x + x), (int)(foot.y - height + down), scale(colour, shade), 0.75);
		}
	}
}

static void
paint_leafy_tree(struct canvas *canvas, struct rng *rng, struct point foot, double height, struct rgb colour)
{
	struct point crown = {foot.x, foot.y - height * 0.62};
	double width = rng_range(rng, 0.30, 0.40) * height;

	ellipse(canvas, (struct point){foot.x + height * 0.15, foot.y}, width, height * 0.05, 0, rgb(0x1c2418), height * 0.06, 0.45);
	stroke(canvas, foot, crown, height * 0.07, height * 0.03, rgb(0x4c3c2e));
	for (int i = 0; i < 240; i++) {
		/* From the shaded inside to the leaves that catch the light at the upper left. */
		double out = sqrt(rng_range(rng, 0, 1)), angle = rng_range(rng, 0, 1), layer = i / 240.0;
		struct point at = {crown.x + width * out * cosine(angle), crown.y + height * 0.34 * out * sine(angle)};
		double lit = -0.5 * (at.x - crown.x) / width - 0.7 * (at.y - crown.y) / height;
		double light = clamp(0.45 + 0.35 * layer + lit * 0.6 + rng_range(rng, -0.1, 0.1), 0.2, 1.4);
		double size = height * lerp(0.09, 0.03, layer);

		ellipse(canvas, at, size, size * 0.7, angle, scale(colour, light), 1.5, 0.85);
	}
}

void
paint_house(struct canvas *canvas, struct rng *rng, struct point foot, double size, double brightness)
{
	static const uint32_t walls[] = {0xe8dcc4, 0xd8c8b0, 0xc46a50, 0xf0ece4, 0xb8c4c8};
	static const uint32_t roofs[] = {0x8a4434, 0x5a4a48, 0x6c5040, 0x484e58};
	struct rgb wall = scale(rgb(walls[rng_pick(rng, 5)]), brightness);
	struct rgb roof = scale(rgb(roofs[rng_pick(rng, 4)]), brightness);
	/* Left, corner between front and side, right; ground, eaves, top. */
	double l = foot.x, m = foot.x + size * 0.9, r = foot.x + size * 1.5;
	double b = foot.y, e = foot.y - size * 0.6, t = foot.y - size * 1.1;
	struct point front[] = {{l, e}, {m, e}, {m, b}, {l, b}};
	struct point side[] = {{m, e}, {r, e}, {r, b - size * 0.06}, {m, b}};
	struct point gable[] = {{m, e}, {(m + r) / 2, t}, {r, e}};
	struct point slope[] = {{l - size * 0.05, e + size * 0.03}, {l + size * 0.3, t}, {(m + r) / 2, t}, {m, e + size * 0.03}};
	struct point chimney[] = {
	    {l + size * 0.5, t - size * 0.15}, {l + size * 0.62, t - size * 0.15},
	    {l + size * 0.62, t + size * 0.1}, {l + size * 0.5, t + size * 0.1},
	};

	ellipse(canvas, (struct point){(l + r) / 2, b}, size, size * 0.1, 0, rgb(0x1c2018), size * 0.15, 0.5);
	convex(canvas, side, 4, scale(wall, 0.68), 1);
	convex(canvas, gable, 3, scale(wall, 0.68), 1);
	convex(canvas, front, 4, wall, 1);
	convex(canvas, chimney, 4, scale(roof, 0.8), 1);
	convex(canvas, slope, 4, roof, 1);
	for (int i = 0; i < 3; i++) {
		double x = l + size * (0.12 + 0.27 * i), bottom = i == 1 ? b : e + size * 0.34;
		double right = x + size * 0.14, top = e + size * 0.14;
		struct point pane[] = {{x, top}, {right, top}, {right, bottom}, {x, bottom}};

		convex(canvas, pane, 4, i == 1 ? scale(roof, 0.6) : rgb(0x2c3640), 1);
	}
}

void
paint_water(struct canvas *canvas, struct rng *rng, const struct light *light, double shore, double unrest)
{
	uint64_t seed = rng_next(rng);
	struct rgb deep = mix(rgb(0x1c3c4c), light->zenith, 0.35);
	int first = (int)shore;

	for (int y = first; y < canvas->height; y++) {
		double depth = (y - shore) / (canvas->height - shore), pitch = 2 + depth * 14;

		for (int x = 0; x < canvas->width; x++) {
			double ripple = fractal(seed, x / (pitch * 6), y / pitch + depth * 3, 3) - 0.5;
			int from_x = (int)clamp(x + ripple * pitch * unrest, 0, canvas->width - 1);
			int from_y = (int)clamp(2 * first - y + ripple * pitch * 3 * unrest, 0, first - 1);
			struct rgb seen = canvas->pixels[from_y * canvas->width + from_x];

			blend(canvas, x, y, scale(mix(seen, deep, 0.18 + 0.35 * depth), 0.95 + ripple * 0.3), 1);
		}
	}
	for (int x = 0; x < canvas->width; x++)
		blend(canvas, x, first, light->horizon, 0.35);
}

void
paint_meadow(struct canvas *canvas, struct rng *rng, const struct light *light, double top)
{
	uint64_t seed = rng_next(rng);
	struct rgb blossom[] = {rgb(0xf4e04c), rgb(0xf4f0ec), rgb(0xd84848), rgb(0x9078d0)};
	int colour = rng_pick(rng, 4), blossoms = rng_pick(rng, 2) * canvas->width;

	paint_ridge(canvas, rng, light, light->grass, top, top + canvas->height * 0.06, 0.4, 0.08, 2);
	for (int y = (int)top; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			double near = (y - top) / (canvas->height - top);
			double blades = fractal(seed, x / (1.5 + 3 * near), y / (2 + 9 * near), 3);

			blend(canvas, x, y, scale(light->grass, light->brightness * (0.25 + blades)), 0.65 * smoothstep(0.1, 0.5, near));
		}
	for (int i = 0; i < blossoms; i++) {
		double near = sqrt(rng_range(rng, 0.03, 1)), size = (0.3 + 2.2 * near) * canvas->height / 320;
		struct point at = {rng_range(rng, 0, canvas->width), lerp(top + canvas->height * 0.07, canvas->height, near)};

		ellipse(canvas, at, size + 0.4, size * 0.7 + 0.4, 0, scale(blossom[colour], light->brightness), 1.2, 0.9);
	}
}

void
paint_trees(struct canvas *canvas, struct rng *rng, const struct light *light, double ground, int n, double height)
{
	int leafy = rng_pick(rng, 2);

	for (int i = 0; i < n; i++) {
		double near = (i + 1.0) / n, tall = height * lerp(0.45, 1, near) * rng_range(rng, 0.75, 1.15);
		struct point foot = pick_point(rng, -0.02 * canvas->width, 1.02 * canvas->width, 0, canvas->height * 0.03);
		struct rgb colour = scale(mix(light->leaf, light->horizon, 0.2 * (1 - near)), light->brightness);

		foot.y += ground + canvas->height * 0.1 * near;
		if (leafy)
			paint_leafy_tree(canvas, rng, foot, tall * 0.8, scale(colour, 1.2));
		else
			paint_conifer(canvas, rng, foot, tall, scale(colour, 0.75));
	}
}

/* Pictures with a horizon: mountains, a lake, the countryside, the sea, a town at night. */
#include "scenery.h"
#include "scenes.h"

void
paint_mountains(struct canvas *canvas, struct rng *rng)
{
	struct light light = pick_light(rng);
	double horizon = canvas->height * rng_range(rng, 0.55, 0.72), tree = canvas->height * rng_range(rng, 0.15, 0.35);

	paint_sky(canvas, rng, &light, horizon);
	paint_ranges(canvas, rng, &light, horizon, canvas->height);
	paint_trees(canvas, rng, &light, canvas->height * 0.93, 8 + rng_pick(rng, 25), tree);
}

void
paint_lake(struct canvas *canvas, struct rng *rng)
{
	struct light light = pick_light(rng);
	double shore = canvas->height * rng_range(rng, 0.5, 0.65);

	paint_sky(canvas, rng, &light, shore);
	paint_ranges(canvas, rng, &light, shore * 0.92, shore * 1.01);
	paint_trees(canvas, rng, &light, shore * 0.99 - canvas->height * 0.1, 30 + rng_pick(rng, 40), canvas->height * 0.1);
	paint_water(canvas, rng, &light, shore, rng_range(rng, 0.3, 1.2));
}

void
paint_countryside(struct canvas *canvas, struct rng *rng)
{
	struct light light = pick_light(rng);
	double horizon = canvas->height * rng_range(rng, 0.5, 0.6), ground = horizon + canvas->height * 0.14;
	double size = canvas->height * rng_range(rng, 0.12, 0.22);
	int houses = 1 + rng_pick(rng, 3);

	paint_sky(canvas, rng, &light, horizon);
	for (int i = 0; i < 3; i++) {
		double near = i / 2.0, top = lerp(horizon * 0.86, ground * 0.9, near);

		paint_ridge(canvas, rng, &light, mix(light.leaf, light.grass, near), top, top + canvas->height * 0.1, 0.42,
		    lerp(0.5, 0.15, near), 2);
	}
	paint_meadow(canvas, rng, &light, ground * 0.97);
	paint_trees(canvas, rng, &light, ground * 0.98, 3 + rng_pick(rng, 6), size * 1.6);
	for (int i = 0; i < houses; i++) {
		struct point foot = pick_point(rng, 0, 0.3 * canvas->width, 0, canvas->height * 0.05);

		foot.x += canvas->width * (0.05 + i * 0.3);
		foot.y += ground + canvas->height * 0.05;
		paint_house(canvas, rng, foot, size, light.brightness);
	}
	paint_trees(canvas, rng, &light, ground + canvas->height * 0.1, rng_pick(rng, 3), size * 2.4);
}

static void
paint_boat(struct canvas *canvas, struct point at, double size)
{
	double x = at.x, y = at.y, boom = at.y - size * 0.2;
	struct point hull[] = {
	    {x - size * 0.5, y - size * 0.12}, {x + size * 0.6, y - size * 0.14}, {x + size * 0.4, y}, {x - size * 0.35, y},
	};
	struct point sail[] = {{x + size * 0.04, y - size * 1.3}, {x + size * 0.5, boom}, {x + size * 0.04, boom}};
	struct point jib[] = {{x - size * 0.04, y - size * 1.15}, {x - size * 0.04, boom}, {x - size * 0.4, boom}};

	convex(canvas, hull, 4, rgb(0x5a3428), 1);
	convex(canvas, sail, 3, rgb(0xf6f2e6), 1);
	convex(canvas, jib, 3, rgb(0xdcd6cc), 1);
}

void
paint_sea(struct canvas *canvas, struct rng *rng)
{
	struct light light = pick_light(rng);
	double horizon = canvas->height * rng_range(rng, 0.38, 0.6);
	double beach = rng_pick(rng, 2) ? rng_range(rng, 0.75, 0.88) : 2; /* 2: none in sight */
	struct point sun = paint_sky(canvas, rng, &light, horizon);
	uint64_t seed = rng_next(rng);
	struct rgb far = mix(mix(rgb(0x2c6c8c), light.zenith, 0.5), light.horizon, 0.3);
	struct rgb near = scale(rgb(0x1c5868), light.brightness);

	if (rng_pick(rng, 2))
		paint_ridge(canvas, rng, &light, light.rock, horizon * 0.88, horizon * 1.02, 0.5, 0.45, 2);
	for (int y = (int)horizon; y < canvas->height; y++) {
		double depth = (y - horizon) / (canvas->height - horizon), pitch = 1.2 + depth * 16;

		for (int x = 0; x < canvas->width; x++) {
			double wave = fractal(seed, x / (pitch * 3.5), y / pitch, 4), across = (x - sun.x) / canvas->width;
			double glitter = smoothstep(0.55, 0.7, wave) / (1 + across * across * 60 / (0.3 + depth));
			double foam = smoothstep(0.68, 0.78, wave) * smoothstep(0.1, 0.6, depth);
			/* The waterline wanders; the sand is wet beside it. */
			double sand = depth - beach - 0.12 * (fractal(seed + 9, x / 90.0, 0, 3) - 0.5);
			double dry = 0.62 + 0.3 * smoothstep(0, 0.06, sand) + 0.15 * wave;
			struct rgb water = scale(mix(far, near, depth), 0.7 + 0.6 * wave);

			water = mix(water, scale(light.sun, 0.95), clamp(0.75 * glitter + 0.5 * foam, 0, 1));
			water = mix(water, rgb(0xf4f6f4), 0.9 * smoothstep(-0.05, -0.01, sand) * smoothstep(0.35, 0.6, wave));
			blend(canvas, x, y, water, 1);
			blend(canvas, x, y, scale(rgb(0xd8c090), light.brightness * dry), smoothstep(-0.01, 0.005, sand));
		}
	}
	for (int boats = rng_pick(rng, 3); boats > 0; boats--) {
		struct point at = pick_point(rng, 0.1 * canvas->width, 0.9 * canvas->width, 0.01, 0.2);

		paint_boat(canvas, (struct point){at.x, horizon + at.y * canvas->height}, canvas->height * (0.04 + 0.3 * at.y));
	}
}

/* A tower block with some of its windows lit. */
static void
paint_block(struct canvas *canvas, struct rng *rng, double left, double top, double width, double foot, struct rgb wall)
{
	double pane = canvas->height * 0.011, right = left + width, bottom = canvas->height;
	struct point outline[] = {{left, top}, {right, top}, {right, bottom}, {left, bottom}};

	convex(canvas, outline, 4, wall, 1);
	for (double y = top + pane; y < foot - pane; y += pane * 2.2)
		for (double x = left + pane; x < right - 1.5 * pane; x += pane * 1.9) {
			struct point window[] = {{x, y}, {x + pane, y}, {x + pane, y + pane * 1.3}, {x, y + pane * 1.3}};

			if (rng_pick(rng, 3) == 0)
				convex(canvas, window, 4, mix(rgb(0xffc860), rgb(0xe8f0ff), rng_range(rng, 0, 0.8)), 0.9);
		}
}

void
paint_town_at_night(struct canvas *canvas, struct rng *rng)
{
	static const uint32_t airs[] = {0x38406c, 0x6c4860, 0x2c5868, 0x805848};
	struct light light = {
	    rgb(0x0a1230), rgb(airs[rng_pick(rng, 4)]), rgb(0xf4ecd0), rgb(0x28304c), rgb(0x101820), rgb(0x141c28), 0.5, 0,
	};
	double ground = canvas->height * rng_range(rng, 0.68, 0.8), size = canvas->height;
	struct point moon = pick_point(rng, 0.1 * canvas->width, 0.9 * canvas->width, 0.1 * size, 0.35 * size);

	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++)
			blend(canvas, x, y, mix(light.zenith, light.horizon, smoothstep(0, ground, y)), 1);
	for (int i = 0; i < 260; i++) {
		struct point star = pick_point(rng, 0, canvas->width, 0, ground);

		ellipse(canvas, star, 0.7, 0.7, 0, rgb(0xf0f0ff), 1.2, rng_range(rng, 0.1, 1));
	}
	glow(canvas, moon, size * 0.09, rgb(0xb0b8d8), 0.4);
	ellipse(canvas, moon, size * 0.045, size * 0.045, 0, rgb(0xf8f4e4), 1.5, 1);
	if (rng_pick(rng, 2)) {
		struct point shadow = {moon.x + size * 0.025, moon.y - size * 0.012};

		ellipse(canvas, shadow, size * 0.042, size * 0.042, 0, rgb(0x303a60), 1.5, 1);
	}
	paint_ridge(canvas, rng, &light, light.rock, ground * 0.6, ground, 0.52, 0.2, 2);
	for (int is_front = 0; is_front < 2; is_front++)
		for (double x = -0.02 * canvas->width; x < canvas->width;) {
			double width = size * rng_range(rng, 0.05, 0.13);
			double height = size * rng_range(rng, 0.1, 0.42) * (is_front ? 0.6 : 1);

			paint_block(canvas, rng, x, ground - height, width, ground,
			    mix(rgb(0x080c16), light.horizon, is_front ? 0.05 : 0.2));
			x += width + size * 0.004;
		}
	paint_water(canvas, rng, &light, ground, rng_range(rng, 0.6, 1.4));
}

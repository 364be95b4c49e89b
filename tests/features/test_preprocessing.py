from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from tests.reference import samples
from tfdpm.features.preprocessing import (
    FeatureMoments,
    feature_moments,
    fit_preprocessing,
    normalize_rows,
)
from tfdpm.features.skewness import compress

X = samples.points(400, 4, seed=0, loc=3.0, scale=2.0)


def features_of(x, kind="auto"):
    moments = feature_moments(normalize_rows(x) if kind == "normalize" else x)
    return fit_preprocessing(moments, kind).transform(x)


def distances(x):
    x = np.asarray(x, np.float64)
    return np.linalg.norm(x[:50, None] - x[None, :50], axis=-1)


def rotation(dim, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_numpy(weighted):
    weights = np.random.default_rng(0).integers(0, 4, 400).astype(float) if weighted else None
    moments = feature_moments(X, weights)
    copies = X if weights is None else np.repeat(X, weights.astype(int), axis=0)
    assert moments.num_points == len(copies)
    np.testing.assert_allclose(moments.mean, copies.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(moments.covariance, np.cov(copies.T, bias=True), rtol=1e-9)


def test_moments_of_parts_add_up():
    whole, first = feature_moments(X), feature_moments(X[:130])
    both = first.plus(feature_moments(X[130:]))
    for part, wanted in zip(both, whole, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-9)


@pytest.mark.parametrize("num_points", [7, 40])
def test_more_columns_than_rows_give_the_same_moments_and_map(num_points):
    x = samples.points(num_points, 30, seed=2, loc=3.0) * np.geomspace(1.0, 50.0, 30)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, num_points)
    moments = feature_moments(x, weights)
    covariance = np.cov(x.T, aweights=weights, bias=True)
    full = moments._replace(covariance=covariance)
    assert moments.is_factored == (num_points == 7) and not full.is_factored
    np.testing.assert_allclose(moments.full_covariance, covariance, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.variances, np.diag(covariance), rtol=1e-9)
    for kind in ("auto", "standardize"):
        found, wanted = (fit_preprocessing(each, kind) for each in (moments, full))
        assert found.feature_dim == wanted.feature_dim
        np.testing.assert_allclose(found.projection, wanted.projection, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("cut", [3, 5, 50])
def test_moments_of_wide_parts_add_up(cut):
    x = samples.points(60, 20, seed=3)
    both = feature_moments(x[:cut]).plus(feature_moments(x[cut:]))
    few = feature_moments(x[:3]).plus(feature_moments(x[3:cut])) if cut == 5 else None
    np.testing.assert_allclose(both.full_covariance, np.cov(x.T, bias=True), atol=1e-12)
    if few is not None:
        assert few.is_factored
        np.testing.assert_allclose(few.full_covariance, np.cov(x[:5].T, bias=True), atol=1e-12)


def test_twenty_thousand_columns_need_no_square_of_them():
    x = np.random.default_rng(0).normal(size=(10, 20_000))
    tracemalloc.start()
    features = features_of(x)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert features.shape == (10, 2) and most < 50 * x.nbytes  # their square is 2,000 times as much


def test_a_spread_whose_square_is_no_float_is_named():
    x = X.copy()
    x[:, 1] *= 1e-200
    with pytest.raises(ValueError, match="`x`: got a column whose values all lie within .*e-"):
        feature_moments(x)
    x[:, 1] = 1e-200  # constant
    assert feature_moments(x).variances[1] == 0.0
    feature_moments(X * 1e-130)


def test_features_of_what_is_no_number_or_beyond_all_of_the_data_are_far_and_finite():
    preprocessing = fit_preprocessing(feature_moments(X), "auto")
    x = np.repeat(X[:1], 5, axis=0)
    x[:, 0] = [np.nan, np.inf, 1e150, -1e150, -np.inf]
    for features in (preprocessing.transform(x), preprocessing(x).numpy()):
        assert np.isfinite(features).all() and (np.abs(features).max(axis=1) == 1e12).all()
    np.testing.assert_array_equal(preprocessing.transform(x[2:3]), -preprocessing.transform(x[3:4]))


def test_values_that_no_map_makes_small_are_named():
    with pytest.raises(ValueError, match="`preprocessing`: got 'none' for values of about .*e.30"):
        fit_preprocessing(feature_moments(X * 1e30), "none")


def test_moments_keep_their_digits_far_from_the_origin():
    moments = feature_moments(X + 1e9)
    np.testing.assert_allclose(moments.covariance, np.cov(X.T, bias=True), rtol=1e-4, atol=1e-5)


def test_features_have_mean_zero_and_mean_variance_one():
    features = features_of(X).astype(np.float64)
    np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-6)
    num_leading = fit_preprocessing(feature_moments(X), "auto").num_leading
    np.testing.assert_allclose(features[:, :num_leading].var(axis=0).mean(), 1.0, rtol=1e-5)
    correlation = np.corrcoef(features.T)
    np.testing.assert_allclose(correlation, np.eye(len(correlation)), atol=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_neither_units_nor_shifts_matter(factor, shift):
    np.testing.assert_allclose(features_of(factor * X + shift), features_of(X), atol=1e-4)


def test_rotations_do_not_matter():
    turned = features_of(X @ rotation(4))
    np.testing.assert_allclose(distances(turned), distances(features_of(X)), atol=1e-4)


def test_distances_are_kept_up_to_one_factor():
    x = np.random.default_rng(0).normal(size=(400, 3))  # no axis is dropped
    ratio = distances(features_of(x)) / np.where(distances(x) > 0, distances(x), np.inf)
    ratio = ratio[ratio > 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_columns_of_wildly_different_units_get_equal_weight():
    mixed = X * np.array([1.0, 1e4, 1.0, 1e-4])
    variances = X.var(axis=0)
    standard = X / np.sqrt(variances)
    np.testing.assert_allclose(
        distances(features_of(mixed)), distances(features_of(standard)), atol=2e-2
    )
    description = fit_preprocessing(feature_moments(mixed), "auto").description
    assert description.startswith("standardised columns")


def test_standardize_gives_every_column_unit_variance():
    features = features_of(X * np.array([1.0, 3.0, 9.0, 27.0]), "standardize")
    np.testing.assert_allclose(features.var(axis=0), 1.0, rtol=1e-5)


def test_center_keeps_the_columns_and_their_proportions():
    features = features_of(X, "center")
    factor = np.sqrt(X.var(axis=0).mean())
    np.testing.assert_allclose(features, (X - X.mean(axis=0)) / factor, atol=1e-5)


def test_normalize_gives_rows_unit_length_and_none_changes_nothing():
    rows = np.concatenate([X, np.zeros((1, 4))])
    features = features_of(rows, "normalize")
    np.testing.assert_allclose(np.linalg.norm(features[:-1], axis=1), 1.0, rtol=1e-6)
    assert not features[-1].any()
    np.testing.assert_array_equal(features_of(X, "none"), X.astype(np.float32))


def test_constant_columns_count_for_nothing():
    padded = np.insert(X, [0, 2], [7.0, 1e8], axis=1)
    np.testing.assert_allclose(distances(features_of(padded)), distances(features_of(X)), atol=1e-4)
    for kind in ("center", "standardize"):
        features = features_of(padded, kind)
        assert np.isfinite(features).all() and (features[:, 0] == 0.0).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 1e8, 0.1])
def test_constant_data_become_one_column_of_zeros(value):
    preprocessing = fit_preprocessing(feature_moments(np.full((20, 3), value)), "auto")
    assert preprocessing.feature_dim == 1
    np.testing.assert_allclose(preprocessing.transform(np.full((20, 3), value)), 0.0, atol=1e-6)


def test_large_offsets_take_no_digits_in_float64():
    features = features_of(X + 1e7)
    np.testing.assert_allclose(distances(features), distances(features_of(X)), atol=1e-4)


def test_calling_and_transforming_agree():
    preprocessing = fit_preprocessing(feature_moments(X), "auto")
    np.testing.assert_allclose(preprocessing(X), preprocessing.transform(X), atol=1e-6)


ORIGINS = np.array([0.0, 70.0, 0.0])


def with_logs(seed=0):
    """Log-normal columns beside a Gaussian one, and the map with logarithms of the former."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(400, 3))
    x[:, :2] = np.exp(x[:, :2]) * [3.0, 500.0]
    x[:, 1] = ORIGINS[1] - x[:, 1]
    log_scales, units = np.array([0.2, 30.0, np.inf]), np.array([0.2, 30.0, 2.0])
    moments = feature_moments(compress(x - ORIGINS, log_scales) / units)
    return x, fit_preprocessing(moments, "auto").after_logs(log_scales, ORIGINS, units)


def test_logarithms_come_before_the_affine_map():
    x, preprocessing = with_logs()
    second = -30 * np.log(1 + (70 - x[:, 1]) / 30)
    compressed = np.stack([0.2 * np.log(1 + x[:, 0] / 0.2), second, x[:, 2]])
    expected = (compressed.T - preprocessing.mean) @ preprocessing.projection
    np.testing.assert_allclose(preprocessing.transform(x), expected, atol=1e-6)
    np.testing.assert_allclose(preprocessing(x), expected, atol=1e-6)
    np.testing.assert_allclose(np.var(expected, axis=0).mean(), 1.0)
    assert preprocessing.description.startswith("logarithms of 2 columns, ")


def test_the_inverse_leads_back_through_logarithms():
    x, preprocessing = with_logs()
    x[::2] *= -1.0
    features = preprocessing.transform(x).astype(np.float64)
    np.testing.assert_allclose(preprocessing.inverse(features), x, rtol=1e-4, atol=1e-4)


def test_narrow_covariances_lead_back_through_logarithms():
    _, preprocessing = with_logs()
    means = np.array([[0.3, -0.5, 0.2], [-0.1, 0.4, 0.9]])
    covariances = 1e-6 * np.array([np.eye(3), np.diag([1.0, 2.0, 3.0])])
    noise = np.random.default_rng(1).normal(size=(40_000, 3))
    for mean, covariance, found in zip(
        means, covariances, preprocessing.inverse_covariance(covariances, means), strict=True
    ):
        raw = preprocessing.inverse(mean + noise * np.sqrt(np.diag(covariance)))
        deviations = raw.std(axis=0)
        bound = 0.03 * np.outer(deviations, deviations)
        assert (np.abs(found - np.cov(raw.T)) < bound).all()


def test_the_volume_change_by_logarithms_is_a_numerical_determinant():
    x, preprocessing = with_logs()
    step = 1e-4 * x[:5]
    columns = []
    for index in range(3):
        shift = np.where(np.arange(3) == index, step, 0.0)
        ends = [
            compress(x[:5] + sign * shift - ORIGINS, preprocessing.log_scales) for sign in (1, -1)
        ]
        columns.append((ends[0] - ends[1]) @ preprocessing.projection / (2 * step[:, [index]]))
    expected = np.log(np.abs(np.linalg.det(np.stack(columns, axis=1))))
    features = preprocessing.transform(x[:5]).astype(np.float64)
    np.testing.assert_allclose(preprocessing.log_volume_change(features), expected, atol=1e-5)


def test_maps_that_cannot_be_inverted_have_no_volume_change():
    _, preprocessing = with_logs()
    narrow = dataclasses.replace(preprocessing, projection=preprocessing.projection[:, :2])
    np.testing.assert_array_equal(narrow.log_volume_change(np.ones((4, 2))), np.zeros(4))


@pytest.mark.parametrize("kind", ["auto", "center", "standardize", "none"])
def test_the_inverse_leads_back(kind):
    x = np.random.default_rng(0).normal(size=(400, 3)) * [1.0, 2.0, 3.0] + 5.0
    preprocessing = fit_preprocessing(feature_moments(x), kind)
    features = preprocessing.transform(x).astype(np.float64)
    np.testing.assert_allclose(preprocessing.inverse(features), x, atol=1e-4)
    np.testing.assert_allclose(
        preprocessing.inverse_covariance(np.cov(features.T), features.mean(axis=0)),
        np.cov(x.T),
        rtol=1e-3,
        atol=1e-4,
    )


def test_what_axes_lose_is_filled_in_by_those_of_standardised_columns():
    generator = np.random.default_rng(0)
    common = generator.normal(size=(60, 2)) @ generator.normal(size=(2, 8))
    units = np.array([1.0, 900.0, 0.01, 3.0, 1.0, 50.0, 1e4, 2.0])
    x = (common + 0.4 * generator.normal(size=(60, 8))) * units + 7.0
    preprocessing = fit_preprocessing(feature_moments(x), "auto")
    found = preprocessing.inverse(preprocessing.transform(x).astype(np.float64))
    standardised = (x - x.mean(axis=0)) / x.std(axis=0)
    axes = np.linalg.svd(standardised)[2][: preprocessing.feature_dim]
    assert len(axes) < 8
    wanted = standardised @ axes.T @ axes
    np.testing.assert_allclose((found - x.mean(axis=0)) / x.std(axis=0), wanted, atol=1e-4)


def test_the_volume_change_turns_densities_of_features_into_those_of_inputs():
    x = np.random.default_rng(0).normal(size=(400, 3)) * [1.0, 2.0, 3.0] + 5.0
    preprocessing = fit_preprocessing(feature_moments(x), "auto")
    features = preprocessing.transform(x).astype(np.float64)
    raw = stats.multivariate_normal(x.mean(axis=0), np.cov(x.T)).logpdf(x)
    mapped = stats.multivariate_normal(features.mean(axis=0), np.cov(features.T)).logpdf(features)
    np.testing.assert_allclose(mapped + preprocessing.log_volume_change(features), raw, atol=1e-3)


def test_few_points_get_few_axes_but_at_least_two():
    covariance = np.diag(np.linspace(2.0, 1.0, 50))
    for num_points, expected in ((10, 2), (625, 10), (10**6, 50)):
        moments = FeatureMoments(num_points, np.zeros(50), covariance)
        assert fit_preprocessing(moments, "auto").feature_dim == expected


@pytest.mark.parametrize(("num_points", "leading", "kept"), [(10**4, 2, 4), (56, 2, 2)])
def test_axes_of_little_variance_are_kept_but_do_not_lead(num_points, leading, kept):
    covariance = np.diag([10.0, 1e-4, 0.04, 5.0, 0.03])
    moments = FeatureMoments(num_points, np.zeros(5), covariance)
    whole = fit_preprocessing(moments, "auto")
    assert whole.feature_dim == kept and (whole.num_leading or kept) == leading
    assert whole.leading().feature_dim == leading and whole.leading().num_leading is None
    np.testing.assert_allclose(whole.leading().projection, whole.projection[:, :leading])
    np.testing.assert_allclose(
        np.diag(whole.projection.T @ covariance @ whole.projection),
        np.array([10.0, 5.0, 0.04, 0.03])[:kept] / 7.5,
        atol=1e-12,
    )


def test_axes_without_variance_are_dropped():
    flat = np.random.default_rng(0).normal(size=(400, 2)) @ samples.points(2, 6, seed=3)
    assert fit_preprocessing(feature_moments(flat), "auto").feature_dim == 2


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="`preprocessing`: got 'whiten'"):
        fit_preprocessing(feature_moments(X), "whiten")


def test_flags_keep_their_unit_and_numbers_beside_them_get_unit_variance():
    generator = np.random.default_rng(0)
    flags = (generator.uniform(size=(400, 3)) < [0.5, 0.1, 0.01]).astype(float)
    x = np.column_stack([1e-3 * X[:, 0], flags, 30.0 * X[:, 1], np.zeros(400)])
    moments = feature_moments(x)._replace(variables=(0,) * 6)
    np.testing.assert_array_equal(moments.is_flag, [False, True, True, True, False, False])
    assert not moments._replace(variables=()).is_flag.any()
    units = np.where(moments.is_flag, 1.0, x.std(axis=0))[:5]
    wanted = x[:, :5] / units
    ratio = distances(fit_preprocessing(moments, "auto").transform(x)) / (distances(wanted) + 1e-9)
    apart = distances(wanted) > 0
    np.testing.assert_allclose(ratio[apart], ratio[apart].mean(), rtol=2e-2)
    standard = fit_preprocessing(moments, "standardize").transform(x)[:, :5]
    np.testing.assert_allclose(standard.std(axis=0), standard.std(), rtol=1e-4)


def test_flags_of_categories_stay_before_the_axes_of_numbers():
    generator = np.random.default_rng(0)
    value = generator.integers(3, size=400)
    flags = np.column_stack([np.eye(3)[value], generator.random(400) < 0.2])
    x = np.column_stack([X[:, 0], flags[:, 3], 30.0 * X[:, 1], flags[:, :3]])
    moments = feature_moments(x)._replace(variables=(0, 1, 0, 2, 2, 2))
    found = fit_preprocessing(moments, "auto", keeps_flags=True)
    assert (found.category_sizes, found.feature_dim) == ((1, 3), 6)
    columns, units = found.flag_places
    np.testing.assert_array_equal(columns, [1, 3, 4, 5])
    wanted = units * (x[:, columns] - x[:, columns].mean(axis=0))
    np.testing.assert_allclose(found.transform(x)[:, :4], wanted, atol=1e-6)
    assert found.transform(x)[:, 4:].var(axis=0).mean() == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_array_equal(found.raw_points(found.transform(x))[:, columns], x[:, columns])
    widths = found.with_resolution(x).steps
    assert widths is None or not widths[columns].any()
    only = feature_moments(flags)._replace(variables=(2, 2, 2, 1))
    only = fit_preprocessing(only, "auto", keeps_flags=True).with_resolution(flags)
    assert only.counts_copies
    assert only.steps is None or not only.steps.any()

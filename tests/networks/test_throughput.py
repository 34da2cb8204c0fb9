import torch
from small_model import small_sam

from bc_sam.networks.throughput import Rate, measure_rates, render_advice

CPU = torch.device("cpu")


def test_each_dtype_is_measured_from_the_smallest_batch_size_up():
    rates = list(measure_rates(small_sam(), CPU, seconds=0.01, sizes=(1, 2)))
    assert {rate.dtype for rate in rates} == {"float32", "bfloat16"}
    assert next(rate.batch_size for rate in rates if rate.dtype == "float32") == 1
    assert all(rate.images_per_second > 0 for rate in rates)


def test_a_dtype_ends_at_the_batch_size_that_runs_out_of_memory():
    def out_of_memory_above_two(sam, config, pixels, budget):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError
        return 0.1

    rates = list(measure_rates(small_sam(), CPU, sizes=(1, 2, 4, 8), timer=out_of_memory_above_two))
    assert [rate.batch_size for rate in rates] == [1, 2] * 2


def test_the_smallest_batch_size_within_five_percent_of_the_fastest_is_recommended():
    rates = [Rate("float32", 1, 50.0), Rate("bfloat16", 4, 97.0), Rate("bfloat16", 8, 100.0)]
    advice = render_advice(rates)
    assert 'dtype="bfloat16", batch_size=4' in advice
    assert "1,000 cells take 10 s, a million 2.9 h" in advice

"""Under which conditions a round was timed: clocks, power and throttling of a GPU, load of a computer. Read only."""

from __future__ import annotations

import importlib.util
from typing import Any

import psutil
import torch

THROTTLES = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""Bits of NVML's clock event reasons that disturb a round (NVIDIA's NVML reference); the power cap is a GPU's normal state."""


def read_conditions(device: torch.device) -> dict[str, Any]:
    """What can be read without rights: the load of the last minute, and on CUDA what NVML tells (package nvidia-ml-py)."""
    conditions: dict[str, Any] = {"load_1m": round(psutil.getloadavg()[0], 2)}
    if device.type != "cuda" or importlib.util.find_spec("pynvml") is None:
        return conditions
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return conditions | {"nvml": str(error)}
    try:
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        reasons = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return conditions | {
            "sm_clock_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
            "power_w": pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "temperature_c": pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
            "throttled": [name for bit, name in THROTTLES.items() if reasons & bit],
        }
    except pynvml.NVMLError as error:
        return conditions | {"nvml": str(error)}
    finally:
        pynvml.nvmlShutdown()


def is_throttled(conditions: dict[str, Any]) -> bool:
    """Whether a GPU said, with the round's last work in flight, that it was slowed down."""
    return bool(conditions.get("throttled"))

"""What genonce says to people, in English and in the Chinese of the seeds."""

from collections.abc import Mapping
from enum import StrEnum


class Language(StrEnum):
    """Languages of messages."""

    ENGLISH = "en"
    CHINESE = "zh"


TEXTS: Mapping[str, tuple[str, str]] = {
    "created": (
        "Image task created; ask for the result with the task id.",
        "图像生成任务已创建，请使用任务ID查询结果",
    ),
    "cached": (
        "Images with these parameters exist already; nothing was bought.",
        "发现相同参数的图像已生成，可直接查询结果",
    ),
    "joined": (
        "The same images are being made already; nothing more was bought.",
        "图像生成任务已创建，请使用任务ID查询结果",
    ),
    "pending": ("Task is pending ({percent}%).", "任务pending中 ({percent}%)"),
    "processing": ("Task is processing ({percent}%).", "任务processing中 ({percent}%)"),
    "completed": ("All images are ready.", "图像生成完成"),
    "failed": ("Image generation failed: {reason}", "图像生成失败：{reason}"),
    "cancelled": ("The task was cancelled.", "任务已取消"),
    "forgotten": ("The task was removed; its images stay.", "任务已删除，图像仍保留"),
    "purged": ("The task and its images were removed.", "任务及图像已删除"),
    "healthy": ("Service is healthy", "Service is healthy"),
    "degraded": ("Service is degraded: {reason}", "Service is degraded: {reason}"),
}

ERRORS_ZH: Mapping[str, str] = {
    "malformed_body": "请求体不是有效的JSON对象",
    "body_too_large": "请求体过大",
    "unsupported_media_type": "请求必须包含Content-Type: application/json头",
    "route_not_found": "找不到路径: {path}",
    "method_not_allowed": "{method}方法不允许",
    "unknown_model": "未知模型，可用模型: {known}",
    "not_authenticated": "缺少或无效的API密钥",
    "not_found": "任务不存在或已过期",
    "image_not_found": "图像不存在",
    "idempotency_key_conflict": "该Idempotency-Key已用于其他请求",
    "provider_misconfigured": "模型的提供商未配置: {variable}",
    "store_unavailable": "服务暂时不可用，请稍后再试",
    "internal_error": "服务器内部错误",
}
"""By code; a code that is not here keeps its English message."""

LIMITS_ZH: Mapping[str, str] = {
    "generate": "图像生成请求频率过高，请稍后再试",
    "general": "请求频率过高，请稍后再试",
    "read": "请求频率过高，请稍后再试",
}


def language_of(headers: Mapping[bytes, bytes]) -> Language:
    """Chinese where a client prefers it (Accept-Language), else English."""
    first = headers.get(b"accept-language", b"").lstrip().lower()
    return Language.CHINESE if first.startswith(b"zh") else Language.ENGLISH


def say(name: str, language: Language, **facts: object) -> str:
    """A text with its facts."""
    english, chinese = TEXTS[name]
    text = chinese if language is Language.CHINESE else english
    return text.format(**facts) if facts else text


def say_error(code: str, message: str, language: Language, facts: Mapping[str, object]) -> str:
    """An error's message; English is the error's own."""
    if language is Language.ENGLISH:
        return message
    if code == "rate_limited":
        return LIMITS_ZH.get(str(facts.get("meter")), message)
    if code == "invalid_request" and facts.get("missing"):
        return f"缺少必填字段: {facts['field']}"
    text = ERRORS_ZH.get(code)
    try:
        return message if text is None else text.format(**facts)
    except KeyError:
        return message

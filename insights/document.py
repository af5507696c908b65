from insights.definition import Definition, Section

__all__ = ["Definition", "Section"]

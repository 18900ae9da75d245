{#- A filter on the partitioning column that takes every partition: for readers that want all of a
    table with require_partition_filter. The same words by which dbt-bigquery satisfies it. -#}
{% macro any_partition(column) -%}
    ({{ column }} is null or {{ column }} is not null)
{%- endmacro %}

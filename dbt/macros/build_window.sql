{#- The window of a build that the platform runs (runs/due.py): what the ledger tells of the
    batches that it has to take in, as SQL literals. None in a full refresh, when dbt is run by
    hand, and where the ledger does not know.
      after, until when they were applied, which is inserted_at of their rows; the first excluded
      from, to     where their rows lie and lay, by the time by which the raw table is partitioned -#}
{% macro build_window() -%}
    {#- Only when statements are made: what parsing reads of the environment is parsed anew when it
        changes. -#}
    {%- if not execute or not env_var('DBT_WINDOW_AFTER', '') -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return({
        'after': env_var('DBT_WINDOW_AFTER'),
        'until': env_var('DBT_WINDOW_UNTIL'),
        'from': env_var('DBT_WINDOW_FROM'),
        'to': env_var('DBT_WINDOW_TO'),
    }) }}
{%- endmacro %}
